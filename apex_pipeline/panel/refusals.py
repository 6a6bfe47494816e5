"""The panel's answers to errors."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from apex_pipeline.web_gate.gatekeeping import refusal

_CODES = {404: "not_found", 405: "method_not_allowed"}


def refuse(request: Request, error: Exception) -> Response:
    """JSON for paths of the API, a line of text for pages."""
    if not isinstance(error, HTTPException):
        raise error
    if request.url.path.startswith("/api/"):
        code = _CODES.get(error.status_code, "refused")
        headers = dict(error.headers or {})
        return refusal(error.status_code, code, f"{error.detail}.", headers)
    return PlainTextResponse(error.detail, error.status_code, error.headers)


def refuse_parameter(_: Request, error: Exception) -> Response:
    return refusal(400, "invalid_request", str(error))


def apologize(*_: object) -> Response:
    """Answer after an unexpected error; the log has its traceback."""
    return refusal(500, "internal_error", "Something went wrong; see the panel's log.")
