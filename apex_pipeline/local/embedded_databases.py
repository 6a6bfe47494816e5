"""The databases that `apex up` embeds, and the variables with their addresses."""

from collections.abc import Sequence
from pathlib import Path

from apex_pipeline.local import embedded_roles
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.local.embedded_roles import OwnDatabase
from apex_pipeline.local.ports import HOST, HeldPorts

METRICS = OwnDatabase("apex", embedded_roles.OWNER)
STORAGE = OwnDatabase("dagster", embedded_roles.DAGSTER_LOGIN, is_private=True)
"""That of Dagster's storage."""

URL_VARIABLES = {METRICS.name: "DATABASE_URL", STORAGE.name: "DAGSTER_POSTGRES_URL"}


def prepare_postgres(
    ports: HeldPorts, state: Path, databases: Sequence[OwnDatabase]
) -> tuple[EmbeddedPostgres | None, dict[str, str]]:
    """A server for these databases, and the variables with their addresses."""
    if not databases:
        return None, {}
    postgres = EmbeddedPostgres(state / "postgres")
    postgres.prepare()
    while not ports.hold(HOST, postgres.port):
        postgres.prepare()
    return postgres, {
        URL_VARIABLES[each.name]: postgres.guarded_url(each.name, each.owner)
        for each in databases
    }
