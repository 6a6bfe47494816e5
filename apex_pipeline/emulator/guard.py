"""The one gate of the Web API: every request passes it, and nothing in it is dropped.

What a route does not honour is refused as documented, or answers 501 with its name:
query options, headers that change meaning, preferences, and parameters of messages.
What stands inside an option (columns, paths, functions, inner options of `$expand`) is
refused the same way where it is read.
"""

import re
from collections.abc import Callable
from urllib.parse import unquote_plus

from apex_pipeline.emulator import surface, web_api_errors
from apex_pipeline.emulator.places import Place
from apex_pipeline.emulator.surface import ALIASES, Route
from apex_pipeline.emulator.wire import OperationRequest

_ANYWHERE = frozenset({"tag"})
# "Query data using OData" lists them as not supported.
_UNSUPPORTED = frozenset({"$skip", "$search", "$format"})
PREFERENCES = frozenset({"odata.include-annotations", "odata.maxpagesize"})
"""Those that fit every route: where there is nothing to apply them to, none is due."""

# Families of headers that could change what a request means.
OF_MEANING = ("mscrm", "if-", "odata-", "x-http-method")
NEVER = frozenset({"callerobjectid", "content-encoding", "isolation", "range"})
_ANNOTATIONS = re.compile(r"[\w.]+\*?|\*").fullmatch
_ANNOTATED = (
    "OData.Community.Display.V1.FormattedValue",
    "Microsoft.Dynamics.CRM.associatednavigationproperty",
    "Microsoft.Dynamics.CRM.lookuplogicalname",
    "Microsoft.Dynamics.CRM.totalrecordcount",
    "Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded",
    "Microsoft.PowerApps.CDS.ErrorDetails.",
    "Microsoft.PowerApps.CDS.HelpLink",
    "Microsoft.PowerApps.CDS.TraceText",
    "Microsoft.PowerApps.CDS.InnerError.Message",
)


def check(place: Place, request: OperationRequest) -> None:
    """Let a request through, or say what in it is not."""
    route = _route(place, request)
    _check_options(route, request)
    _check_preferences(route, request)
    _check_headers(route, request)
    _check_content(place, request)
    if place.resource in {"message", "bulk message"}:
        _check_parameters(place, route, request)


def _route(place: Place, request: OperationRequest) -> Route:
    if place.resource == "message":
        method, route = surface.MESSAGES[place.name]
        if request.method != method:
            raise web_api_errors.wrong_verb(request.url())
        return route
    known = surface.ROUTES.get((request.method, place.resource))
    if known is None:
        raise web_api_errors.method_not_allowed(request.method)
    if not known.done:
        raise web_api_errors.not_emulated(f"{request.method} {known.address}.")
    return known


def _check_options(route: Route, request: OperationRequest) -> None:
    seen = set()
    for part in request.query.split("&"):
        name = unquote_plus(part.partition("=")[0])
        if not part:
            continue
        if name in seen:
            raise web_api_errors.malformed_url(
                f"Query option '{name}' was specified more than once, but it must be"
                " specified at most once."
            )
        seen.add(name)
        if name in _UNSUPPORTED:
            raise web_api_errors.malformed_url(
                f"The query parameter {name} is not supported."
            )
        if name in route.refused:
            raise _refused(name, request.options())
        known = name in route.options | route.ignored | _ANYWHERE
        if not known and not (name.startswith("@") and ALIASES in route.options):
            raise web_api_errors.not_emulated(f"the query option {name[:100]}.")


def _refused(name: str, options: dict[str, str]) -> web_api_errors.WebApiError:
    """From "Aggregate data using OData" and "Use change tracking"."""
    if "$apply" not in options:
        return web_api_errors.malformed_url(
            f'The "{name}" query parameter isn\'t supported when Change Tracking is'
            " enabled."
        )
    column = re.escape(options[name].partition(" ")[0])
    if re.search(rf"\bas\s+{column}\b", options["$apply"]):
        return web_api_errors.malformed_url(
            "The query node SingleValueOpenPropertyAccess is not supported."
        )
    # Of other columns the page says nothing.
    return web_api_errors.not_emulated(f"the query option {name} together with $apply.")


def _check_preferences(route: Route, request: OperationRequest) -> None:
    for name, value in request.preferences().items():
        shown = f"{name}={value}" if value else name
        if name not in PREFERENCES | route.preferences:
            raise web_api_errors.not_emulated(f"the preference {shown[:100]} here.")
        if name == "return" and value != "representation":
            raise web_api_errors.not_emulated(f"the preference {shown[:100]}.")
    for pattern in request.annotations().patterns:
        stem = pattern.removesuffix("*")
        known = any(
            each.startswith(stem) or stem.startswith(each) for each in _ANNOTATED
        )
        if not _ANNOTATIONS(pattern) or not known:
            raise web_api_errors.not_emulated(f"the annotation {pattern[:100]}.")


def _check_headers(route: Route, request: OperationRequest) -> None:
    for name, value in request.headers.items():
        if name in NEVER:
            raise web_api_errors.not_emulated(f"the header {name}.")
        check_value = EVERYWHERE.get(name)
        if check_value is not None:
            if not check_value(value):
                raise web_api_errors.not_emulated(f"the header {name}: {value[:100]}.")
            continue
        if not name.startswith(OF_MEANING):
            continue
        if name == "if-none-match" and value.strip() in {"null", ""}:
            continue
        starred = value.strip() == "*" and f"{name}:*" in route.headers
        if name not in route.headers and not starred:
            raise web_api_errors.not_emulated(f"the header {name}: {value[:100]} here.")
        known = _VALUES.get(name)
        if known is not None and value.strip().lower() not in known:
            raise web_api_errors.not_emulated(f"the header {name}: {value[:100]}.")


def _check_content(place: Place, request: OperationRequest) -> None:
    """A body is JSON and says so, but for a batch, which has a check of its own."""
    if place.resource == "$batch" or request.method in {"GET", "DELETE"}:
        return
    given = request.headers.get("content-type", "")
    if not request.body and request.method == "POST" and not given:
        return
    media_type, *parameters = (part.strip().lower() for part in given.split(";"))
    if media_type != "application/json":
        raise web_api_errors.not_json(given)
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        known = _CONTENT_PARAMETERS.get(name)
        if parameter and (known is None or value.strip('"') not in known):
            raise web_api_errors.not_emulated(f"the content type {given[:100]}.")


def _check_parameters(place: Place, message: Route, request: OperationRequest) -> None:
    asked = request.method == "GET"
    given = dict(request.arguments()) if asked else request.json(place.name)
    for name in sorted(given.keys() - message.parameters):
        if "@" in name or (name in message.others and not given[name]):
            # What the service has is sent as false or empty by clients that mean none.
            continue
        if name in message.others:
            raise web_api_errors.not_emulated(f"the parameter {name} of {place.name}.")
        raise web_api_errors.malformed_payload(
            place.name,
            f"The parameter '{name}' in the request payload is not a valid parameter for"
            f" the operation '{place.name}'.",
        )


def _acceptable(value: str) -> bool:
    """JSON with minimal metadata, or anything; errors are JSON whatever is accepted."""
    for each in value.lower().replace(" ", "").split(","):
        media_type, *parameters = each.split(";")
        if media_type not in _ACCEPTED or any(
            part.startswith("odata.metadata=") and part != "odata.metadata=minimal"
            for part in parameters
        ):
            return False
        if "ieee754compatible=true" in parameters:
            return False
    return True


_ACCEPTED = frozenset(
    {"", "*/*", "application/*", "application/json", "text/plain", "multipart/mixed"}
)
_CONTENT_PARAMETERS = {
    "charset": {"utf-8"},
    "type": {"entry"},
    "odata.metadata": {"minimal"},
    "odata.streaming": {"true", "false"},
    "ieee754compatible": {"false"},
}
EVERYWHERE: dict[str, Callable[[str], bool]] = {
    "accept": _acceptable,
    "consistency": lambda value: value.lower() == "strong",
    "odata-maxversion": lambda value: value.strip() in {"4.0", "4.01"},
    "odata-version": lambda value: value.strip() == "4.0",
}
# No rule that detects duplicates can be made here, so none is ever found.
_VALUES = dict.fromkeys(
    ("mscrm.mergelabels", "mscrm.suppressduplicatedetection"),
    frozenset({"true", "false"}),
)
