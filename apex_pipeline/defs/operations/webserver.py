"""The Dagster UI behind the gate that the panel stands behind.

It is Dagster's own application. What stands before it is ours: the host, the origin, the
session, and changes by JSON only.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import dagster as dg
from dagster._cli.workspace.cli_target import workspace_opts_to_load_target
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_shared.cli import WorkspaceOpts
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from apex_pipeline.panel import pages
from apex_pipeline.settings import PanelSettings
from apex_pipeline.web_gate.gatekeeping import Gatekeeper, RateLimit, SecurityHeaders
from apex_pipeline.web_gate.json_changes import JsonChanges, is_data
from apex_pipeline.web_gate.rate_limit import SIGN_INS, Buckets, Rate
from apex_pipeline.web_gate.sessions import Sessions
from apex_pipeline.web_gate.sign_in import SignIn

# Dagster sets its own policy for scripts and styles; these do not touch it.
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
    """Dagster's own web application on the instance of `DAGSTER_HOME`.

    Args:
        workspace: Files that name the code locations.
        read_only: Whether it refuses every change.
        path_prefix: Where it stands behind a proxy, such as `/dagster`.
    """
    target = workspace_opts_to_load_target(
        WorkspaceOpts(workspace=tuple(map(str, workspace)))
    )
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            _STATEMENT_MILLISECONDS, _RECYCLE_SECONDS, _MOST_OVERFLOW
        )
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
    ui: ASGIApp, settings: PanelSettings, *, own_secret: str | None = None
) -> ASGIApp:
    """Put the checks in front of an application.

    Args:
        ui: The application.
        settings: Where it listens, and the token that opens it.
        own_secret: A second token, for the commands of this machine.
    """
    sessions = (
        None if settings.token is None else Sessions(settings.token, also=own_secret)
    )
    sign_in = SignIn(sessions, Buckets(SIGN_INS), pages.sign_in_form)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield

    app = Starlette(
        routes=[
            *(sign_in.routes() if sessions else []),
            Mount("/static", StaticFiles(directory=pages.STATIC)),
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
