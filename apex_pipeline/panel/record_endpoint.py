"""`POST /api/metrics/campaign`: agents record a campaign run.

The application that mounts this route limits access, rate and body size.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from apex_pipeline.audit.events import Author
from apex_pipeline.column_types import DecimalNumber, Text, WholeNumber
from apex_pipeline.errors import (
    ConfigError,
    DatabaseError,
    InvalidRecordError,
    MalformedRecordError,
    RecordConflictError,
)
from apex_pipeline.metrics import COLUMNS, Column
from apex_pipeline.postgres.database import Database
from apex_pipeline.recording.fields import AGENTS, ID, OPTIONAL, make_field
from apex_pipeline.recording.parsing import parse_json
from apex_pipeline.recording.record_ids import MAX_KEY_LENGTH
from apex_pipeline.recording.record_writing import Recorded, record
from apex_pipeline.web_gate.gatekeeping import credential_of

logger = logging.getLogger(__name__)

PATH = "/api/metrics/campaign"

_NO_STORE = {"Cache-Control": "no-store"}
_RETRY_SECONDS = 5
_NOT_CONFIGURED_RETRY_SECONDS = 60

# Half of the connections of a `Database`, so readers find a free one.
_WRITERS = 2

_MEDIA_TYPE = re.compile(
    r'application/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?', re.IGNORECASE
)
# RFC 8941 puts a text in quotes, and so do clients that follow this header's draft.
_QUOTED = re.compile(r'"([^"\\]*)"')


def recording_routes(
    open_database: Callable[[], Database], author_of: Callable[[str | None], Author]
) -> list[Route]:
    """The route that records a campaign run.

    Args:
        author_of: Returns the author of a request with this credential, for the audit
            trail.
        open_database: Returns the database to record in. It is called for each request
            and not closed here, so return the same one, with short timeouts. May raise
            ConfigError.
    """
    writers = asyncio.Semaphore(_WRITERS)

    async def record_campaign(request: Request) -> JSONResponse:
        if not _MEDIA_TYPE.fullmatch(request.headers.get("content-type", "").strip()):
            return _error(
                415, "unsupported_media_type", "The body must be application/json."
            )
        body = await request.body()
        keys = request.headers.getlist("idempotency-key")
        author = author_of(credential_of(request.headers))
        async with writers:
            return await run_in_threadpool(_answer, open_database, body, keys, author)

    return [Route(PATH, record_campaign, methods=["POST"])]


def _answer(
    open_database: Callable[[], Database],
    body: bytes,
    keys: Sequence[str],
    author: Author,
) -> JSONResponse:
    try:
        given = parse_json(_decode(body))
        key = _read_key(keys)
        recorded = record(open_database(), given, AGENTS, key=key, author=author)
    except MalformedRecordError as error:
        return _error(400, "malformed_json", "The body is not JSON.", error.problems)
    except InvalidRecordError as error:
        text = "The record is not valid."
        return _error(422, "invalid_record", text, error.problems)
    except RecordConflictError as error:
        differing = [f"{name} differs" for name in error.fields]
        return _error(409, "conflict", f"{error}; nothing was written.", differing)
    except ConfigError as error:
        logger.warning("a campaign run was not recorded: %s", error)
        text = "No database is configured for recording."
        return _unavailable("not_configured", text, _NOT_CONFIGURED_RETRY_SECONDS)
    except DatabaseError as error:
        # The database's address and user are not for every caller.
        logger.warning("a campaign run was not recorded: %s", error)
        text = "The database is not available now; send the same request again later."
        return _unavailable("database_unavailable", text, _RETRY_SECONDS)
    return _recorded(recorded)


def _recorded(recorded: Recorded) -> JSONResponse:
    content = {"ok": True, "id": str(recorded.id), "created": recorded.created}
    return JSONResponse(content, 201 if recorded.created else 200, _NO_STORE)


def _decode(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise MalformedRecordError("this is not UTF-8") from None


def _read_key(keys: Sequence[str]) -> str | None:
    if len(keys) > 1:
        raise InvalidRecordError(f"{AGENTS.key} is given more than once")
    if not keys:
        return None
    quoted = _QUOTED.fullmatch(keys[0])
    return quoted[1] if quoted else keys[0]


def _unavailable(error: str, message: str, seconds: int) -> JSONResponse:
    response = _error(503, error, message)
    response.headers["Retry-After"] = str(seconds)
    return response


def _error(
    status: int, error: str, message: str, problems: Sequence[str] = ()
) -> JSONResponse:
    content = {
        "ok": False,
        "error": error,
        "message": message,
        "problems": list(problems),
    }
    return JSONResponse(content, status, _NO_STORE)


_UUIDS = {"campaign_id", "run_id"}


def _property(column: Column) -> dict[str, object]:
    """A field in JSON Schema; the table may allow less."""
    described: dict[str, object] = {"description": column.description}
    if column.postgres in _UUIDS:
        described["format"] = "uuid"
    match make_field(column).type:
        case Text(max_length):
            kind = "string"
            described |= {"minLength": 1, "maxLength": max_length, "pattern": r"\S"}
        case WholeNumber(minimum, maximum):
            kind = "integer"
            described |= {"minimum": minimum, "maximum": maximum}
        case DecimalNumber(_, least, most):
            kind = "number"
            described |= {"minimum": int(least), "maximum": int(most)}
        case _:
            kind = "string"
            described |= {"format": "date-time"}
    optional = column.postgres in OPTIONAL
    return {"type": [kind, "null"] if optional else kind, **described}


def _answered(description: str, schema: str, *headers: str) -> dict[str, object]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    answered: dict[str, object] = {
        "description": description,
        "content": {"application/json": {"schema": reference}},
    }
    if headers:
        whole = {"schema": {"type": "integer", "minimum": 0}}
        answered["headers"] = dict.fromkeys(headers, whole)
    return answered


_ID_SCHEMA = {
    "type": ["string", "null"],
    "minLength": 1,
    "maxLength": MAX_KEY_LENGTH,
    "description": "Key of the row: a UUID. Other text works like Idempotency-Key.",
}
_KEY_PARAMETER = {
    "name": AGENTS.key,
    "in": "header",
    "required": False,
    "description": "Text that identifies this record. If you send the record again with "
    "the same key, it is not written again.",
    "schema": {
        "type": "string",
        "maxLength": MAX_KEY_LENGTH,
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    },
}
_RECORD_SCHEMA = {
    "type": "object",
    "description": "The metrics of one campaign run. agentsSuccessful must not exceed "
    "agentsTotal. Without successRate, it is computed; without createdAt, it is the "
    "current time. createdAt may be at most five minutes in the future. campaignId and "
    "runId may be any text if the table's columns are text. costUSD is rounded half up to "
    "five places, and successRate to two. A table may limit costUSD to 99999.99999.",
    "additionalProperties": False,
    "required": [c.agents for c in COLUMNS if c.postgres not in OPTIONAL],
    "properties": {c.agents: _property(c) for c in COLUMNS} | {ID: _ID_SCHEMA},
}
_RECORDED_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["ok", "id", "created"],
    "properties": {
        "ok": {"const": True},
        "id": {"type": "string", "format": "uuid"},
        "created": {"type": "boolean"},
    },
}
_ERROR_SCHEMA = {
    "type": "object",
    "required": ["ok", "error", "message", "problems"],
    "properties": {
        "ok": {"const": False},
        "error": {"type": "string", "description": "Error code, for programs."},
        "message": {"type": "string", "description": "What happened, for people."},
        "problems": {"type": "array", "items": {"type": "string"}},
    },
}

RECORDING_OPENAPI: dict[str, Any] = {
    "paths": {
        PATH: {
            "post": {
                "operationId": "recordCampaign",
                "summary": "Record a campaign run.",
                "parameters": [_KEY_PARAMETER],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"$ref": "#/components/schemas/CampaignRun"}
                        }
                    },
                },
                "responses": {
                    "200": _answered("Already recorded before.", "CampaignRecorded"),
                    "201": _answered("Recorded.", "CampaignRecorded"),
                    "400": _answered("Not JSON.", "RecordingError"),
                    "409": _answered(
                        "The key belongs to a record with other values.",
                        "RecordingError",
                    ),
                    "415": _answered("Not application/json.", "RecordingError"),
                    "422": _answered(
                        "Invalid values; the problems name all of them.",
                        "RecordingError",
                    ),
                    "503": _answered(
                        "The database is not available; send the same again later.",
                        "RecordingError",
                        "Retry-After",
                    ),
                },
            }
        }
    },
    "components": {
        "schemas": {
            "CampaignRun": _RECORD_SCHEMA,
            "CampaignRecorded": _RECORDED_SCHEMA,
            "RecordingError": _ERROR_SCHEMA,
        }
    },
}
"""Part of an OpenAPI 3.1 document: one path and its schemas."""
