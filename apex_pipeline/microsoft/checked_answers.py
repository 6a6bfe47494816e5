"""Give MSAL what we have read and checked of an answer, and nothing else.

MSAL reads members that no document promises, and dies of a strange value in one. It
decodes a body by the charset that its header claims, and logs one that it cannot read,
with the token in it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import httpx

from apex_pipeline.microsoft.http_answer import Answer

_TOKEN_TYPE = {"token_type": "Bearer"}


def discovery_for_msal(answer: Answer) -> httpx.Response:
    """The documented description of an authority: its endpoints."""
    return _rebuilt(answer, {"authorization_endpoint": str, "token_endpoint": str}, {})


def token_for_msal(answer: Answer) -> httpx.Response:
    """The documented answer of a token endpoint."""
    return _rebuilt(answer, {"access_token": str, "expires_in": int}, _TOKEN_TYPE)


def machine_token_for_msal(answer: Answer) -> httpx.Response:
    """The documented answer of a managed identity's endpoint.

    An agent of Azure Arc confirms the identity that was asked for.
    """
    members = {"access_token": str, "expires_in": int, "expires_on": int}
    return _rebuilt(answer, members | {"client_id": str}, _TOKEN_TYPE)


def challenge_for_msal(answer: Answer) -> httpx.Response:
    """The first answer of Azure Arc, which names the file of a key in a header."""
    name = "www-authenticate"
    return httpx.Response(answer.status, headers={name: answer.headers.get(name, "")})


def _rebuilt(
    answer: Answer,
    members: Mapping[str, Callable[[Any], object]],
    fixed: Mapping[str, object],
) -> httpx.Response:
    found = answer.document if isinstance(answer.document, dict) else {}
    kept = {name: kind(found[name]) for name, kind in members.items() if name in found}
    return httpx.Response(answer.status, json={**kept, **fixed})
