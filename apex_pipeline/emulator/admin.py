"""The emulator's own endpoints, `/_emulator/…`.

They read and change everything that it holds, so they require its control secret.
`health` answers without it, to those who wait for the start, but then tells nothing.
"""

import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from apex_pipeline.emulator import guids, projections, security
from apex_pipeline.emulator.instance import Emulator
from apex_pipeline.emulator.limits import UserLimits
from apex_pipeline.emulator.registered_applications import Grants

_Endpoint = Callable[[Request], Awaitable[Response]]


def routes(emulator: Emulator) -> list[Route]:
    """The admin endpoints of an emulator."""
    admin = _Admin(emulator)
    secret = emulator.options.control_secret
    table: list[tuple[str, str, _Endpoint]] = [
        ("GET", "requests", admin.requests),
        ("DELETE", "requests", admin.clear_requests),
        ("GET", "records/{table}", admin.records),
        ("GET", "mail", admin.mail),
        ("GET", "faults", admin.faults),
        ("POST", "faults", admin.add_faults),
        ("DELETE", "faults", admin.clear_faults),
        ("POST", "limits", admin.set_limits),
        ("POST", "applications", admin.register),
        ("POST", "snapshot", admin.snapshot),
        ("POST", "restore", admin.restore),
        ("POST", "reset", admin.reset),
    ]
    return [
        Route("/_emulator/health", admin.health, methods=["GET"]),
        *(
            Route(
                f"/_emulator/{path}",
                _guarded(_explained(endpoint), secret),
                methods=[method],
            )
            for method, path, endpoint in table
        ),
    ]


def _guarded(endpoint: _Endpoint, secret: str) -> _Endpoint:
    """Requests without the control secret are answered 401."""

    async def answer(request: Request) -> Response:
        if _shows(request, secret):
            return await endpoint(request)
        message = (
            "Send the emulator's control secret in the header Authorization: Bearer "
            "SECRET. It is in the file control_secret of its state folder, or in that "
            "of --control-secret-file."
        )
        return JSONResponse({"error": message}, 401, {"WWW-Authenticate": "Bearer"})

    return answer


def _shows(request: Request, secret: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    is_same = hmac.compare_digest(given.strip().encode(), secret.encode())
    return scheme.lower() == "bearer" and is_same


def _explained(endpoint: _Endpoint) -> _Endpoint:
    """A mistake in the request is answered 400 with what is wrong."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (ValueError, TypeError, KeyError) as error:
            return JSONResponse({"error": str(error)}, 400)

    return answer


class _Admin:
    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def health(self, request: Request) -> Response:
        emulator = self._emulator
        if not _shows(request, emulator.options.control_secret):
            return JSONResponse({"status": "ok"})
        return JSONResponse(
            {
                "status": "ok",
                "url": f"https://{request.headers.get('host')}",
                "tenant_id": emulator.identity.tenant_id,
                "client_id": emulator.options.client_id,
                "tables": [table.name for table in emulator.environment.tables],
            }
        )

    async def requests(self, request: Request) -> Response:
        del request
        return JSONResponse(list(self._emulator.log))

    async def clear_requests(self, request: Request) -> Response:
        del request
        self._emulator.log.clear()
        return Response(status_code=204)

    async def records(self, request: Request) -> Response:
        env = self._emulator.environment
        table = env.table(request.path_params["table"])
        projection = projections.project(table, "")
        show = projection.shower()
        rows = env.storage.select(table, projection.sql())
        text = ",".join([f"{{{show(row)}}}" for row in rows])
        return Response(f"[{text}]", media_type="application/json")

    async def mail(self, request: Request) -> Response:
        del request
        return JSONResponse(list(self._emulator.storage.documents("mail").values()))

    async def faults(self, request: Request) -> Response:
        del request
        return JSONResponse([asdict(fault) for fault in self._emulator.faults.rules])

    async def add_faults(self, request: Request) -> Response:
        posted = await _json(request)
        added = [
            self._emulator.faults.add(each)
            for each in (posted if isinstance(posted, list) else [posted])
        ]
        return JSONResponse([asdict(fault) for fault in added], 201)

    async def clear_faults(self, request: Request) -> Response:
        del request
        self._emulator.faults.clear()
        return Response(status_code=204)

    async def set_limits(self, request: Request) -> Response:
        posted = await _json(request)
        known = {field.name for field in fields(UserLimits)}
        if unknown := set(posted) - known:
            raise ValueError(f"unknown limits: {', '.join(sorted(unknown))}")
        protection = self._emulator.protection
        protection.limits = replace(protection.limits, **posted)
        protection.reset()
        return JSONResponse(asdict(protection.limits))

    async def register(self, request: Request) -> Response:
        """Take client_id with any of the following.

        client_secret, certificate, expired; user (false removes it), disabled, roles
        (names; a new user is an administrator without them), denied (privileges);
        graph: permissions, mailboxes, secret_ends, other_secrets.
        """
        posted = await _json(request)
        emulator = self._emulator
        client_id = str(posted["client_id"]).lower()
        emulator.identity.applications.register(
            client_id,
            secret=posted.get("client_secret"),
            certificate=posted.get("certificate"),
            expired=bool(posted.get("expired", False)),
            grants=_grants(posted["graph"]) if "graph" in posted else None,
        )
        if posted.get("user", True):
            if not guids.is_guid(client_id):
                raise ValueError("client_id of an application with a user is a GUID")
            security.set_user(
                emulator.environment,
                client_id,
                disabled=bool(posted.get("disabled", False)),
                denied=posted.get("denied", ()),
                roles=posted.get("roles"),
            )
        else:
            security.remove_user(emulator.environment, client_id)
        return Response(status_code=204)

    async def snapshot(self, request: Request) -> Response:
        self._emulator.storage.snapshot(str((await _json(request))["name"]))
        return Response(status_code=204)

    async def restore(self, request: Request) -> Response:
        self._emulator.storage.restore(str((await _json(request))["name"]))
        self._emulator.environment.reload()
        return Response(status_code=204)

    async def reset(self, request: Request) -> Response:
        del request
        self._emulator.reset()
        return Response(status_code=204)


def _grants(posted: dict[str, Any]) -> Grants:
    """What may be done in Graph; an address is the same in any case of letters."""
    mailboxes = [str(each).lower() for each in posted.get("mailboxes", ())]
    return Grants(**posted | {"mailboxes": mailboxes})


async def _json(request: Request) -> Any:
    return json.loads(await request.body())
