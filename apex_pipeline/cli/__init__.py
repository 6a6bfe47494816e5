"""The `apex` command. Exit 0: done; 1: failed; 2: the configuration is wrong."""

import logging
import os
import time
from importlib import import_module
from pathlib import Path

import click

from apex_pipeline import __version__
from apex_pipeline.cli.terminal import say
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.flags_and_launchpad_forms.command_list import COMMANDS, SUMMARIES
from apex_pipeline.texts import redaction

BEGAN = time.monotonic()
"""When this process began; what a command loads is part of the time for its answer."""


class _Commands(click.Group):
    """Load commands on demand and print our errors as messages, without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's
        if cmd_name not in COMMANDS:
            return None
        # Imported when it is called: Dagster alone takes most of a second, which
        # `apex --help` need not wait for.
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Before the command is loaded: definitions are named after the tenant as soon as
        # they are imported.
        _prepare(args[0], **ctx.params)
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  click's
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ApexError as error:
            for line in str(error).splitlines():
                say(f"apex: {line}", err=True)
            ctx.exit(2 if isinstance(error, ConfigError) else 1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="apex")
@click.option("--tenant", metavar="NAME", help="Work for this tenant.")
@click.option(
    "--tenants",
    "tenants_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File that lists the tenants.  [default: APEX_TENANTS_FILE, tenants.toml]",
)
def main(**_: object) -> None:
    """Carry campaign metrics from Postgres into Microsoft Dataverse.

    To try it without any accounts, run `apex up --demo`: with DATABASE_URL and
    DATAVERSE_RESOURCE unset, everything runs on this machine. Variables are also read
    from the file .env in the current folder; the documentation lists them all.
    """


def _prepare(command: str, tenant: str | None, tenants_path: Path | None) -> None:
    """Read the variables, and hide the secrets among them from now on."""
    from apex_pipeline.cli import env_file  # noqa: PLC0415  as above

    env_file.load_env_file()
    if command == "emulator":
        # It stands alone: it reads no settings and has a log of its own.
        return
    from apex_pipeline import log_lines  # noqa: PLC0415  as above
    from apex_pipeline.settings.tenant import load_tenant  # noqa: PLC0415  as above
    from apex_pipeline.settings.variable_reading import read_secrets  # noqa: PLC0415  as above

    env_file.drop_blank_variables()
    if tenants_path is not None:
        os.environ["APEX_TENANTS_FILE"] = str(tenants_path.absolute())
    if tenant is not None:
        env_file.work_for(tenant)
    load_tenant(os.environ)
    read_secrets(os.environ)
    redaction.install()
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    # Hide library warnings, such as the one that Dagster logs for each connection retry.
    log_lines.install(os.environ, level=logging.ERROR)
    logging.getLogger("apex_pipeline").setLevel(logging.WARNING)
