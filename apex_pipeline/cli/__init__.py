"""The `apex` command. Exit 0: done; 1: failed; 2: the configuration is wrong."""

import logging
import os
from importlib import import_module

import click

from apex_pipeline import __version__
from apex_pipeline.errors import ApexError, ConfigError

# A command's module is imported when it is called: Dagster alone takes most of a
# second, which `apex --help` need not wait for.
_COMMANDS = {
    "alerts": ("apex_pipeline.cli.alerts:alerts", "See, silence and try alerts."),
    "doctor": ("apex_pipeline.cli.doctor:doctor", "Check everything, live."),
    "emulator": ("apex_pipeline.emulator.__main__:main", "Serve a Dataverse Web API."),
    "export": ("apex_pipeline.cli.export:export", "Write CSV, of any range."),
    "panel": ("apex_pipeline.cli.panel:panel", "Serve the KPI panel and its API."),
    "powerbi": ("apex_pipeline.cli.powerbi:powerbi", "Build or check the dashboard."),
    "provision": ("apex_pipeline.cli.provision:provision", "Make tables as needed."),
    "quarantine": (
        "apex_pipeline.cli.quarantine:quarantine",
        "See refused rows; release or drop them.",
    ),
    "record": ("apex_pipeline.cli.record:record", "Write metrics of campaign runs."),
    "reconcile": (
        "apex_pipeline.cli.reconcile:reconcile",
        "Compare all rows with their records.",
    ),
    "report": ("apex_pipeline.cli.report:report", "Write the completion report."),
    "status": ("apex_pipeline.cli.status:status", "Show whether the sync keeps up."),
    "sync": ("apex_pipeline.cli.sync:sync", "Deliver pending rows now."),
    "webserver": (
        "apex_pipeline.cli.webserver:webserver",
        "Serve the Dagster UI behind a gate.",
    ),
    "up": ("apex_pipeline.cli.up:up", "Run everything on this machine."),
}


COMMANDS = {name: text for name, (_, text) in _COMMANDS.items()}
"""What each command does, in a few words."""


class _Commands(click.Group):
    """Loads commands when they are called, and turns our errors into one message."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  click's
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ApexError as error:
            for line in str(error).splitlines():
                click.echo(f"apex: {line}", err=True)
            ctx.exit(2 if isinstance(error, ConfigError) else 1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="apex")
def main() -> None:
    """Carry campaign metrics from Postgres into Microsoft Dataverse.

    With DATABASE_URL and DATAVERSE_RESOURCE unset, everything runs on this machine:
    begin with `apex up --demo`. Variables are also read from a file .env in the current
    folder; the documentation lists them all.
    """
    from apex_pipeline.cli.variables import load_variables  # noqa: PLC0415  as above

    load_variables()
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    # Others' warnings, such as Dagster's of each connection it tries again, are not for
    # whoever typed a command.
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.ERROR)
    logging.getLogger("apex_pipeline").setLevel(logging.WARNING)
