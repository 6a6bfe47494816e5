"""`apex tenants`."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from apex_pipeline.cli.command_line import AS_JSON
from apex_pipeline.cli.tables import wide_console
from apex_pipeline.cli.terminal import say
from apex_pipeline.settings import (
    TenantSource,
    read_tenants,
    tenants_file,
)
from apex_pipeline.settings.tenant_ends import TenantEnds, read_ends
from apex_pipeline.texts.printable_text import printable


@click.command()
@AS_JSON
@click.option("--doctor", is_flag=True, help="Run `apex doctor` for each tenant.")
def tenants(*, as_json: bool, doctor: bool) -> None:
    """List the tenants, and check the configuration of each.

    Reads the file that --tenants or APEX_TENANTS_FILE names. Exit 0: every tenant is
    configured, and no two share a database or a Dataverse environment; 1: with --doctor,
    a check failed; 2: a configuration is wrong.
    """
    path = tenants_file(os.environ)
    sources = read_tenants(path)
    if doctor:
        sys.exit(max([_examine(path, source, as_json=as_json) for source in sources]))
    found = read_ends(os.environ, sources)
    if as_json:
        document = [
            dataclasses.asdict(each) | {"path": str(each.path)} for each in found
        ]
        say(json.dumps({"tenants": document}, allow_nan=False))
    else:
        _print(found)
    sys.exit(2 if any(each.problems for each in found) else 0)


def _print(found: Sequence[TenantEnds]) -> None:
    console = wide_console()
    table = Table(box=None, pad_edge=False, show_edge=False)
    for heading in ("tenant", "code location", "database", "Dataverse", "variables"):
        table.add_column(heading, overflow="fold")
    for each in found:
        cells = (
            each.name,
            each.location,
            each.database,
            each.dataverse,
            str(each.path),
        )
        table.add_row(*(printable(cell or "?").replace("[", r"\[") for cell in cells))
    console.print(table)
    for each in found:
        for problem in each.problems:
            say(f"{each.name}: {problem}", err=True)


def _examine(path: Path, source: TenantSource, *, as_json: bool) -> int:
    """Run the doctor in a process of the tenant's own; return its exit code."""
    if not as_json:
        say(f"\n{source.name}\n")
    apex = [sys.executable, "-m", "apex_pipeline.cli"]
    named = ["--tenants", str(path), "--tenant", source.name]
    return subprocess.run(  # noqa: S603  our own command
        [*apex, *named, "doctor", *(["--json"] if as_json else [])], check=False
    ).returncode
