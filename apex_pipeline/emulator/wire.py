"""Requests and answers of the Web API, apart from any web framework."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import NoReturn
from urllib.parse import unquote, unquote_plus

from apex_pipeline.emulator import web_api_errors

JSON_TYPE = "application/json; odata.metadata=minimal"
NO_OBJECT = "A node of type 'StartObject' was expected from the JSON reader."
_ANNOTATIONS = "odata.include-annotations"

# Commas within quotes, brackets and braces do not separate arguments.
_ARGUMENTS = re.compile(
    r"""(?:'(?:[^']|'')*'|"[^"]*"|\[[^\]]*\]|\{.*\}|[^,'"\[{])+""", re.DOTALL
)
_PREFERENCE = re.compile(
    r'\s*([\w.\-]+)\s*(?:=\s*("[^"]*"|[^",;]*))?\s*(?:[,;]|$)|[,\s]+'
)


@dataclass(frozen=True, slots=True)
class Annotations:
    """What `odata.include-annotations` asks for: names, or beginnings with a `*`."""

    patterns: tuple[str, ...] = ()

    def __contains__(self, name: object) -> bool:
        return any(
            str(name).startswith(pattern[:-1])
            if pattern.endswith("*")
            else name == pattern
            for pattern in self.patterns
        )


def preferences(text: str) -> dict[str, str]:
    """A Prefer header: names in lower case with their values, unquoted.

    Of a name that is given twice the first counts (RFC 7240), but annotations add up.
    """
    found: dict[str, str] = {}
    place = 0
    while place < len(text):
        match = _PREFERENCE.match(text, place)
        if match is None:
            raise web_api_errors.not_emulated(
                f"the Prefer header at '{text[place:][:100]}'."
            )
        place = match.end()
        name, value = (match[1] or "").lower(), (match[2] or "").strip().strip('"')
        if name == _ANNOTATIONS and name in found:
            found[name] += f",{value}"
        elif name:
            found.setdefault(name, value)
    return found


def annotations(text: str) -> Annotations:
    """What a Prefer header asks for; nothing where it cannot be read."""
    try:
        listed = preferences(text).get(_ANNOTATIONS, "")
    except web_api_errors.WebApiError:
        return Annotations()
    return Annotations(
        tuple(each.strip() for each in listed.split(",") if each.strip())
    )


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """One operation, alone or as a part of `$batch`.

    Attributes:
        method: In capitals.
        path: What follows `/api/data/v9.x/`, still percent-encoded.
        query: The query string, still encoded.
        headers: Names in lower case.
        body: As received.
        api: Absolute root of the Web API, without a slash at the end.
        read: The body's object, once it has been read.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    api: str
    read: list[dict[str, object]] = field(default_factory=list, compare=False)

    def url(self) -> str:
        """The whole address, for messages."""
        return f"{self.api}/{self.path}"

    def arguments(self) -> list[tuple[str, str]]:
        """Arguments between the parentheses of a function, with aliases looked up."""
        options = self.options()
        inner = unquote(self.path).partition("(")[2].rpartition(")")[0]
        found = []
        for part in _ARGUMENTS.findall(inner):
            name, separator, value = (each.strip() for each in part.partition("="))
            if not separator:
                raise web_api_errors.malformed_url(
                    f"Syntax error in the arguments '{inner[:200]}'."
                )
            if value.startswith("@"):
                if value not in options:
                    raise web_api_errors.malformed_url(
                        f"The alias {value} has no value."
                    )
                value = options[value]
            found.append((name, value))
        return found

    def options(self) -> dict[str, str]:
        """Query options by name, decoded."""
        pairs = (part.partition("=") for part in self.query.split("&") if part)
        return {unquote_plus(name): unquote_plus(value) for name, _, value in pairs}

    def preferences(self) -> dict[str, str]:
        """What the Prefer header asks for."""
        return preferences(self.headers.get("prefer", ""))

    def annotations(self) -> Annotations:
        """Which annotations the Prefer header asks for."""
        return annotations(self.headers.get("prefer", ""))

    def aliases(self) -> dict[str, str]:
        """Parameter aliases: query options that begin with `@`."""
        return {name: text for name, text in self.options().items() if name[0] == "@"}

    def json(self, entity_set: str) -> dict[str, object]:
        """The body as an object; decimals keep their digits."""
        if self.read:
            return self.read[0]
        try:
            parsed = json.loads(
                self.body, parse_float=_decimal, parse_constant=_refuse_constant
            )
        except (ValueError, RecursionError) as error:
            raise web_api_errors.malformed_payload(
                entity_set, f"The body is not JSON: {error}"
            ) from None
        if not isinstance(parsed, dict):
            raise web_api_errors.malformed_payload(entity_set, NO_OBJECT)
        self.read.append(parsed)
        return parsed


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to one operation.

    Attributes:
        status: HTTP status.
        body: Empty where the answer has none.
        headers: Beyond those that every answer carries.
        rows: Records read or written, for the latency model and the request log.
        code: Dataverse's code of a refusal; of a batch, each of its parts' codes once.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: int = 1
    code: str | None = None


def applied(request: OperationRequest) -> dict[str, str]:
    """The header that repeats which preferences of a query were honoured."""
    names = [
        f"{name}={value}" if name == "odata.maxpagesize" else f'{name}="{value}"'
        for name, value in request.preferences().items()
        if name in {"odata.maxpagesize", _ANNOTATIONS}
    ]
    return {"Preference-Applied": ",".join(names)} if names else {}


def json_response(
    document: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that holds a JSON document."""
    body = json.dumps(document, ensure_ascii=False, default=_exact).encode()
    return Response(status, body, {"Content-Type": JSON_TYPE, **(headers or {})})


def created(request: OperationRequest, path: str) -> Response:
    """204 with the address of what was made."""
    return Response(204, headers={"OData-EntityId": f"{request.api}/{path}"})


def error_response(error: web_api_errors.WebApiError, prefer: str) -> Response:
    """The one place where an error becomes a body.

    Annotations are members of `error` on request, as in "Compose HTTP requests and
    handle errors", section on additional details.
    """
    document: dict[str, object] = {"code": error.code, "message": error.message}
    link = (
        "http://go.microsoft.com/fwlink/?LinkID=398563&error="
        f"Microsoft.Crm.CrmException%3a{error.code[2:]}&client=platform"
    )
    cds = "Microsoft.PowerApps.CDS"
    details = {
        f"{cds}.ErrorDetails.OperationStatus": "0",
        f"{cds}.ErrorDetails.SubErrorCode": "-2146233088",
        f"{cds}.HelpLink": link,
        f"{cds}.TraceText": "",
        f"{cds}.InnerError.Message": error.message,
        **error.annotations,
    }
    wanted = annotations(prefer)
    document |= {f"@{name}": text for name, text in details.items() if name in wanted}
    answer = json_response({"error": document}, error.status, error.headers)
    return replace(answer, code=error.code)


def _exact(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{type(value)} has no JSON form")


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"The exponent of '{text[:40]}' is too long.") from None


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"Invalid JSON. The token '{text}' is not a value.")
