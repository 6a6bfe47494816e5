"""Dagster's own UI, served with the same access control as the panel.

The access control checks the host, the origin and the session, and allows changes only
as JSON requests.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import dagster as dg
from dagster._cli.workspace.cli_target import workspace_opts_to_load_target
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_postgres import PostgresEventLogStorage
from dagster_shared.cli import WorkspaceOpts
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from apex_pipeline.defs.operations.dagster_storage import send_no_notices
from apex_pipeline.panel import templating
from apex_pipeline.settings import PanelSettings
from apex_pipeline.web_gate.gatekeeping import Gatekeeper, RateLimit, SecurityHeaders
from apex_pipeline.web_gate.json_changes import JsonChanges, is_data
from apex_pipeline.web_gate.rate_limit import SIGN_INS, Buckets, Rate
from apex_pipeline.web_gate.sessions import Sessions
from apex_pipeline.web_gate.sign_in import SignIn

# No Content-Security-Policy here: Dagster sets its own.
_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# A page of the UI loads some hundred files at once.
_REQUESTS = Rate(per_second=100, burst=2000)

_POLL_MILLISECONDS = 2000
_STATEMENT_MILLISECONDS = 15_000
_RECYCLE_SECONDS = 3600
_MOST_OVERFLOW = 20


@contextmanager
def dagster_ui(
    workspace: Sequence[Path], *, read_only: bool, path_prefix: str = ""
) -> Iterator[Starlette]:
    """Create Dagster's web application for the instance in `DAGSTER_HOME`.

    Args:
        workspace: Workspace files that list the code locations.
        read_only: Whether to refuse every change.
        path_prefix: Path behind a proxy, such as `/dagster`.
    """
    target = workspace_opts_to_load_target(
        WorkspaceOpts(workspace=tuple(map(str, workspace)))
    )
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            _STATEMENT_MILLISECONDS, _RECYCLE_SECONDS, _MOST_OVERFLOW
        )
        if isinstance(instance.event_log_storage, PostgresEventLogStorage):
            # It has just made another engine.
            send_no_notices(instance.event_log_storage._engine)  # noqa: SLF001  as in dagster_storage
        with WorkspaceProcessContext(
            instance,
            version=__version__,
            workspace_load_target=target,
            read_only=read_only,
        ) as context:
            yield create_app_from_workspace_process_context(
                context, path_prefix, _POLL_MILLISECONDS
            )


def behind_the_gate(
    ui: ASGIApp,
    settings: PanelSettings,
    *,
    own_secret: str | None = None,
    ended_sessions: Path | None = None,
) -> ASGIApp:
    """Add the access control to an application.

    Args:
        ui: The application to protect.
        settings: Address to listen on, and the token to sign in with.
        own_secret: A second token, for commands on this machine.
        ended_sessions: File of signed-out sessions, shared with the panel.
    """
    sessions = (
        None
        if settings.token is None
        else Sessions(settings.token, also=own_secret, ended=ended_sessions)
    )
    title = templating.page_title(settings.tenant)
    form = partial(templating.sign_in_form, title, "")
    sign_in = SignIn(sessions, Buckets(SIGN_INS), form)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield

    app = Starlette(
        routes=[
            *(sign_in.routes() if sessions else []),
            Mount("/static", StaticFiles(directory=templating.STATIC)),
            Mount("/", ui),
        ],
        middleware=[
            Middleware(RateLimit, buckets=Buckets(_REQUESTS)),
            Middleware(
                Gatekeeper, settings=settings, sessions=sessions, is_private=is_data
            ),
            Middleware(JsonChanges),
        ],
        lifespan=lifespan,
    )
    return SecurityHeaders(app, _HEADERS)
