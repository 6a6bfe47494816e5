"""`python -m apex_pipeline.cli`, where `apex` need not be on anybody's PATH."""

from apex_pipeline.cli import main

main()
