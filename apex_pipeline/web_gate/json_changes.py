"""Accept changes by GraphQL and asset reports only as POST with a JSON content type.

A page of another site can make a browser send GET requests and forms without a preflight
request. It cannot send JSON: the browser first asks the server (Fetch standard, "CORS
protocol"), and the gate refuses.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from apex_pipeline.web_gate.gatekeeping import refusal

_DATA = ("/graphql", "/logs/", "/notebook", "/dagit/notebook", "/download_debug/")
_REPORTS = "/report_asset_"
# Shows a file of this machine that the address names.
_FILES = ("/notebook", "/dagit/notebook")


def is_data(path: str) -> bool:
    """Whether a path of the Dagster UI returns data instead of a page."""
    return path.startswith((*_DATA, _REPORTS))


class JsonChanges:
    """Refuses GraphQL in an address, and changes that are not JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with the right way to send the request."""
        refused = None
        if scope["type"] == "http" and is_data(scope["path"]):
            headers = Headers(scope=scope)
            if scope["path"].startswith(_FILES):
                refused = refusal(404, "not_served", "Notebooks are not served.")
            elif scope["method"] == "POST":
                kind = headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind != "application/json":
                    refused = refusal(
                        415, "not_json", "Send it with Content-Type: application/json."
                    )
            elif scope["path"] == "/graphql" and scope["query_string"]:
                refused = refusal(
                    405, "not_by_get", "Send GraphQL by POST.", {"Allow": "POST"}
                )
        await (refused or self._app)(scope, receive, send)
