"""Requests and answers of the Web API, apart from any web framework."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NoReturn
from urllib.parse import unquote, unquote_plus

from apex_pipeline.emulator import errors

JSON_TYPE = "application/json; odata.metadata=minimal"

_PREFERENCE = re.compile(r'\s*([\w.\-]+)\s*(?:=\s*("[^"]*"|[^,;]*))?\s*(?:,|;|$)')


@dataclass(frozen=True, slots=True)
class Request:
    """One operation, alone or as a part of `$batch`.

    Attributes:
        method: In capitals.
        path: What follows `/api/data/v9.x/`, still percent-encoded.
        query: The query string, still encoded.
        headers: Names in lower case.
        body: As received.
        api: Absolute root of the Web API, without a slash at the end.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    api: str

    def decoded_path(self) -> str:
        """The path without percent-encoding."""
        return unquote(self.path)

    def options(self) -> dict[str, str]:
        """Query options by name, decoded."""
        pairs = (part.partition("=") for part in self.query.split("&") if part)
        return {unquote_plus(name): unquote_plus(value) for name, _, value in pairs}

    def preferences(self) -> dict[str, str]:
        """What the Prefer header asks for; several may be joined by commas."""
        text = self.headers.get("prefer", "")
        return {
            match[1].lower(): (match[2] or "").strip().strip('"')
            for match in _PREFERENCE.finditer(text)
            if match[1]
        }

    def json(self, entity_set: str) -> dict[str, object]:
        """The body as an object; decimals keep their digits.

        Raises:
            WebApiError: It is not a JSON object.
        """
        try:
            parsed = json.loads(
                self.body, parse_float=Decimal, parse_constant=_refuse_constant
            )
        except (ValueError, RecursionError) as error:
            raise errors.malformed_payload(
                entity_set, f"The body is not JSON: {error}"
            ) from None
        if not isinstance(parsed, dict):
            raise errors.malformed_payload(
                entity_set,
                "A node of type 'StartObject' was expected from the JSON reader.",
            )
        return parsed


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to one operation.

    Attributes:
        status: HTTP status.
        body: Empty where the answer has none.
        headers: Beyond those that every answer carries.
        rows: Records read or written, for the latency model and the request log.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: int = 1


def json_response(
    document: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that holds a JSON document."""
    body = json.dumps(document, ensure_ascii=False, default=_exact).encode()
    return Response(status, body, {"Content-Type": JSON_TYPE, **(headers or {})})


def created(request: Request, path: str) -> Response:
    """204 with the address of what was made."""
    return Response(204, headers={"OData-EntityId": f"{request.api}/{path}"})


def error_response(error: errors.WebApiError, preferences: str) -> Response:
    """The one place where an error becomes a body.

    Annotations are members of `error` on request, as in "Compose HTTP requests and
    handle errors", section on additional details.
    """
    document: dict[str, object] = {"code": error.code, "message": error.message}
    if 'odata.include-annotations="*"' in preferences:
        link = (
            "http://go.microsoft.com/fwlink/?LinkID=398563&error="
            f"Microsoft.Crm.CrmException%3a{error.code[2:]}&client=platform"
        )
        details = "@Microsoft.PowerApps.CDS.ErrorDetails"
        document |= {
            f"{details}.OperationStatus": "0",
            f"{details}.SubErrorCode": "-2146233088",
            "@Microsoft.PowerApps.CDS.HelpLink": link,
            "@Microsoft.PowerApps.CDS.InnerError.Message": error.message,
            **error.annotations,
        }
    return json_response({"error": document}, error.status, error.headers)


def _exact(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{type(value)} has no JSON form")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"Invalid JSON. The token '{text}' is not a value.")
