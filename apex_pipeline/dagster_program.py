"""Run a program of Dagster's with our log.

`python -m apex_pipeline.dagster_program dagster|dagster._daemon ARGUMENT…`. Dagster
configures its log when it starts, so ours has to be there before.
"""

import os
import runpy
import sys

from apex_pipeline import log_lines
from apex_pipeline.settings import read_secrets
from apex_pipeline.texts import redaction


def main() -> None:
    """Become the program."""
    read_secrets(os.environ)
    redaction.install()
    log_lines.install(os.environ, level=None)
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
