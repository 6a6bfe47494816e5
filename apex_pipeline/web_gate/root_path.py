"""Serve an application below a path, where a reverse proxy puts it."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Takes the path off each request, if it is still there.

    Some reverse proxies remove the path under which they publish an application, others
    pass it on. Both work, and so do requests that come without a proxy, such as probes.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        """Wrap an application.

        Args:
            app: The application.
            root: The path, such as `/apex`; empty for none.
        """
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as if the application were at the root."""
        if self._root and scope["type"] in {"http", "websocket"}:
            scope = self._within(scope)
        await self._app(scope, receive, send)

    def _within(self, scope: Scope) -> Scope:
        path: str = scope["path"]
        if not f"{path}/".startswith(f"{self._root}/"):
            return scope
        rest = path.removeprefix(self._root) or "/"
        return {**scope, "path": rest, "raw_path": rest.encode()}
