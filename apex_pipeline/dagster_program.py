"""Run a program of Dagster's, or the emulator, with our log.

`python -m apex_pipeline.dagster_program MODULE ARGUMENT…`, with the module `dagster`,
`dagster._daemon` or `apex_pipeline.emulator`. Dagster configures its log when it starts, so
ours has to be there before. The emulator shares no code with the pipeline, so it cannot
configure ours.
"""

import logging
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
    module = sys.argv.pop(1)
    # Dagster adds handlers of its own.
    level = None if module.startswith("dagster") else logging.WARNING
    log_lines.install(os.environ, level=level)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
