"""The services that `apex up` runs, with their addresses and secrets.

The pipeline's processes are configured only by their environment, as with real services.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from apex_pipeline.local.embedded_databases import METRICS, URL_VARIABLES
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.local.embedded_roles import OwnDatabase
from apex_pipeline.local.local_certificates import Certificates
from apex_pipeline.local.ports import HeldPorts
from apex_pipeline.settings import PAGES, PanelSettings, Tenant
from apex_pipeline.settings.postgres_url import read_postgres_url, shown_address

_ENDS = ("DATABASE_URL", "DATAVERSE_RESOURCE", "DAGSTER_HOME", "DAGSTER_POSTGRES_URL")
_APPLICATION = (
    *("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"),
    *("AZURE_AUTHORITY_HOST", "APEX_CA_BUNDLE"),
)


@dataclass(frozen=True, slots=True)
class LocalInstance:
    """The Dagster instance, which tenants may share.

    Attributes:
        ports: Where the children are to listen.
        own_secret: What our own processes show to the Dagster UI.
        tenants: Whose code locations it has.
        postgres: The embedded server of its storage, if that holds no tenant's rows.
        owns_storage: Whether its storage is embedded, with only our runs in it.
        environment: The environment variables of Dagster's own processes.
    """

    state: Path
    ports: HeldPorts = field(repr=False)
    ui: PanelSettings
    own_secret: str = field(repr=False)
    tenants: tuple[Tenant, ...]
    postgres: EmbeddedPostgres | None
    owns_storage: bool
    environment: Mapping[str, str] = field(repr=False)

    @property
    def secret_file(self) -> Path:
        """File with `own_secret`, for its owner alone."""
        return self.state / "webserver.secret"

    @property
    def home(self) -> Path:
        """Dagster's own folder."""
        return self.state / "dagster"


@dataclass(frozen=True, slots=True)
class LocalServices:
    """The services of one tenant to run, with addresses and credentials.

    Attributes:
        emulator_port: 0 if the emulator is not needed.
        databases: The embedded databases that are needed.
        environment: The environment variables of the pipeline's processes.
    """

    instance: LocalInstance
    tenant: Tenant
    state: Path
    code_socket: Path
    emulator_port: int
    panel: PanelSettings
    postgres: EmbeddedPostgres | None
    databases: tuple[OwnDatabase, ...]
    certificates: Certificates | None
    environment: Mapping[str, str] = field(repr=False)

    @property
    def ports(self) -> HeldPorts:
        return self.instance.ports

    @property
    def ui_url(self) -> str:
        """Address of the Dagster UI."""
        return self.instance.ui.url

    @property
    def url_file(self) -> Path | None:
        """File with the URL of the embedded metrics database, for other tools."""
        return self.state / "database.url" if self.owns_metrics else None

    @property
    def owns_metrics(self) -> bool:
        """Whether the metrics database is embedded."""
        return METRICS in self.databases

    def as_login(self, login: str) -> dict[str, str]:
        """Variables that give a process its own login; none for a real database."""
        if not self.postgres or not self.owns_metrics:
            return {}
        variable = URL_VARIABLES[METRICS.name]
        return {variable: self.postgres.guarded_url(METRICS.name, login)}

    @property
    def database_place(self) -> str:
        """Address of the metrics database, without the password."""
        variable = "DATABASE_URL"
        parameters = read_postgres_url(self.environment[variable], variable)
        return f"postgresql://{shown_address(parameters)}"

    @property
    def announcement(self) -> dict[str, str]:
        """Variables for other commands, without a real application's secret."""
        names = _ENDS + PAGES + (_APPLICATION if self.certificates else ())
        return {name: self.environment[name] for name in names}
