"""Microsoft Graph beside the environment, at `/graph`: one mailbox action, one read.

`POST /v1.0/users/{mailbox}/sendMail` in MIME format, from "user: sendMail", and `GET
/v1.0/applications(appId='…')`, from "Get application". What else Graph does answers 501.
Errors have Graph's shape; where a docstring says observed, the code is not documented.

Where Graph is, clients read in `msgraph_host` of the OpenID configuration; its tokens
are for `https://HOST/graph`, and not for the environment.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP
from email.utils import getaddresses
from typing import Any
from urllib.parse import parse_qsl, unquote

from apex_pipeline.emulator import wire
from apex_pipeline.emulator.identity_provider import GRAPH_PATH
from apex_pipeline.emulator.instance import Arrival, Dropped, Emulator
from apex_pipeline.emulator.request_log import Entry
from apex_pipeline.emulator.web_api_errors import WebApiError
from apex_pipeline.emulator.wire import Response

ROOT = re.compile(rf"{GRAPH_PATH}/v1\.0/")
SEND_ALL = "Mail.Send"
READ_APPLICATIONS = "Application.Read.All"

_SEND_MAIL = re.compile(r"users/([^/]+)/sendMail", re.IGNORECASE).fullmatch
_APPLICATION = re.compile(r"applications\(appId='([^']+)'\)", re.IGNORECASE).fullmatch
_MAIL = "mail"
# Code, status, and the text with places for values.
_REFUSALS = """
InvalidAuthenticationToken 401 Access token validation failure. Invalid audience.
ErrorAccessDenied 403 Access is denied. Check credentials and try again.
Authorization_RequestDenied 403 Insufficient privileges to complete the operation.
Request_ResourceNotFound 404 Resource '{}' does not exist or one of its queried reference-property objects are not present.
BadRequest 400 Could not find a property named '{}' on type 'microsoft.graph.application'.
ErrorMimeContentInvalidBase64String 400 Invalid base64 string for MIME content.
ErrorSendAsDenied 403 The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account.
ErrorInvalidRecipients 400 A message can't be sent because it contains no recipients.
notImplemented 501 The emulator does not do {}.
"""  # one line each


class EmulatedGraph:
    """Graph's part of an emulator."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def answer(self, arrival: Arrival) -> tuple[Response, list[tuple[str, str]]]:
        """Carry a request through; returns the answer and its headers.

        Raises:
            Dropped: The connection is to be closed instead.
        """
        emulator = self._emulator
        entry = emulator.log.add(
            Entry(emulator.clock.now(), arrival.method, arrival.path, arrival.query)
        )
        fault = emulator.faults.pick(arrival.method, arrival.path)
        entry.fault = fault.kind if fault else None
        try:
            response = await emulator.intercepted(arrival, fault)
            if fault and fault.kind == "slow":
                await emulator.clock.sleep(fault.delay)
            response = response or self._handle(arrival, entry)
        except WebApiError as error:
            entry.code = error.code
            response = wire.error_response(error, "")
        entry.status = response.status
        if fault and fault.kind == "drop_after":
            entry.status = 0
            raise Dropped
        return response, list(response.headers.items())

    def _handle(self, arrival: Arrival, entry: Entry) -> Response:
        claims = self._emulator.identity.claims_of(
            arrival.headers.get("authorization", ""), f"{arrival.origin}{GRAPH_PATH}"
        )
        if claims is None:
            raise _refused("InvalidAuthenticationToken")
        entry.application = application = str(claims["appid"])
        path = unquote(arrival.path[len(GRAPH_PATH) + len("/v1.0/") :])
        send, read = _SEND_MAIL(path), _APPLICATION(path)
        if send and arrival.method == "POST":
            return self._send_mail(arrival, application, claims, send[1].lower())
        if read and arrival.method == "GET":
            return self._read_application(arrival, claims, read[1].lower())
        raise _refused("notImplemented", "this")

    def _send_mail(
        self,
        arrival: Arrival,
        application: str,
        claims: Mapping[str, Any],
        mailbox: str,
    ) -> Response:
        """202 and an empty body: the message is taken, and not yet delivered.

        `Mail.Send` in the token is for every mailbox. Exchange adds mailboxes one by one
        ("Role Based Access Control for Applications in Exchange Online"), of which the
        token knows nothing. `ErrorAccessDenied` is observed.
        """
        scope = self._emulator.identity.applications.granted(application)["mailboxes"]
        if SEND_ALL not in claims.get("roles", ()) and mailbox not in scope:
            raise _refused("ErrorAccessDenied")
        content_type = arrival.headers.get("content-type", "").partition(";")[0]
        if content_type.strip().lower() != "text/plain":
            raise _refused("notImplemented", "any format but MIME")
        mime = _decoded(arrival.body)
        _check(BytesParser(policy=SMTP).parsebytes(mime), mailbox)
        storage = self._emulator.storage
        number = len(storage.documents(_MAIL)) + 1
        sent = {
            "application": application,
            "mailbox": mailbox,
            "mime": mime.decode("utf-8", "surrogateescape"),
        }
        storage.put_document(_MAIL, f"{number:06}", sent)
        return Response(202)

    def _read_application(
        self, arrival: Arrival, claims: Mapping[str, Any], application: str
    ) -> Response:
        """The registration; secrets are shown by hint, number and end alone."""
        if READ_APPLICATIONS not in claims.get("roles", ()):
            raise _refused("Authorization_RequestDenied")
        shown = self._emulator.identity.applications.shown(application)
        if shown is None:
            raise _refused("Request_ResourceNotFound", application)
        selected = dict(parse_qsl(arrival.query)).get("$select", ",".join(shown))
        if unknown := set(selected.split(",")) - set(shown):
            raise _refused("BadRequest", min(unknown))
        context = f"{arrival.origin}{GRAPH_PATH}/v1.0/$metadata#applications/$entity"
        return wire.json_response(
            {"@odata.context": context}
            | {name: shown[name] for name in selected.split(",")}
        )


def _refused(code: str, *values: str) -> WebApiError:
    status, text = _BY_CODE[code]
    return WebApiError(int(status), code, text.format(*values))


_BY_CODE = {
    code: (status, text)
    for code, status, text in (
        line.split(maxsplit=2) for line in _REFUSALS.strip().splitlines()
    )
}


def _decoded(body: bytes) -> bytes:
    """The message; the error is documented."""
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        raise _refused("ErrorMimeContentInvalidBase64String") from None


def _check(message: EmailMessage, mailbox: str) -> None:
    """A mailbox sends in its own name, to somebody; both codes are observed."""
    senders = [a.lower() for _, a in getaddresses(message.get_all("From", []))]
    if senders != [mailbox]:
        raise _refused("ErrorSendAsDenied")
    if not getaddresses([str(each) for each in message.get_all("To", [])]):
        raise _refused("ErrorInvalidRecipients")
