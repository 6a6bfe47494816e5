"""An authority that says on cue what a server would not: MSAL's other end."""

import json
from dataclasses import dataclass, field

import httpx

from apex_pipeline.settings import DataverseSettings

AUTHORITY = "https://login.example"
RESOURCE = "https://org.example"


@dataclass
class Entra:
    """Answers MSAL over `httpx.MockTransport`; counts the tokens that it gave.

    Attributes:
        described: First answers to requests for its document, an exception is raised.
        said: The same for the token endpoint.
    """

    expires_in: int = 3599
    refusal: tuple[int, dict[str, object]] | None = None
    fault: Exception | None = None
    described: list[httpx.Response | Exception] = field(default_factory=list)
    said: list[httpx.Response | Exception] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self._handle))

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if self.fault is not None:
            raise self.fault
        is_document = request.url.path.endswith("openid-configuration")
        told = self.described if is_document else self.said
        if told:
            answer = told.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if is_document:
            return httpx.Response(
                200,
                json={
                    "issuer": f"{AUTHORITY}/t/v2.0",
                    "authorization_endpoint": f"{AUTHORITY}/t/oauth2/v2.0/authorize",
                    "token_endpoint": f"{AUTHORITY}/t/oauth2/v2.0/token",
                },
            )
        self.forms.append(dict(httpx.QueryParams(request.content.decode())))
        if self.refusal is not None:
            status, body = self.refusal
            return httpx.Response(status, content=json.dumps(body))
        self.tokens.append(f"token-{len(self.tokens) + 1}")
        return httpx.Response(
            200,
            json={
                "token_type": "Bearer",
                "expires_in": self.expires_in,
                "access_token": self.tokens[-1],
            },
        )


def dataverse_settings(**overrides) -> DataverseSettings:
    values = {
        "resource": RESOURCE,
        "authority": f"{AUTHORITY}/t",
        "client_id": "client-1",
        "client_secret": "a-secret-value",
    }
    return DataverseSettings(**(values | overrides))
