"""Connections: whom we trust, what we refuse to remember, how faults are worded."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import httpx

from apex_pipeline.dataverse.pacing import MAX_CONCURRENCY
from apex_pipeline.errors import ConfigError, TransientError

_CONNECT_SECONDS = 10.0


def trust(ca_bundle: Path | None) -> ssl.SSLContext:
    """The system's certificates, and those of the bundle besides.

    Raises:
        ConfigError: The bundle holds no certificate.
    """
    context = ssl.create_default_context()
    if ca_bundle is not None:
        try:
            context.load_verify_locations(cafile=ca_bundle)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"APEX_CA_BUNDLE names {ca_bundle}, which holds no PEM certificate."
            ) from error
    return context


def no_cookies() -> CookieJar:
    """A jar that stays empty: the affinity cookie would pin us to one web server.

    Microsoft Learn, "Send parallel requests": limits hold for each server.
    """
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))


class MsalTransport(httpx.Client):
    """An httpx client as MSAL uses one.

    MSAL signs a client assertion into bytes, which `requests` sends as they are, and
    of which httpx would send Python's own rendering.
    """

    def post(  # type: ignore[override]  # MSAL passes these three and no more
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str | bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a form whose values may be bytes."""
        form = {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in (data or {}).items()
        }
        return super().post(url, params=params, data=form, headers=headers)


def token_http(ca_bundle: Path | None, *, timeout: float = 30.0) -> MsalTransport:
    """The client that MSAL sends through; its own `requests` has no time limit."""
    connect = min(timeout, _CONNECT_SECONDS)
    return MsalTransport(
        verify=trust(ca_bundle), timeout=httpx.Timeout(timeout, connect=connect)
    )


def dataverse_http(
    ca_bundle: Path | None, *, request_timeout: float
) -> httpx.AsyncClient:
    """The client for Dataverse itself; connections are kept, cookies are not."""
    return httpx.AsyncClient(
        verify=trust(ca_bundle),
        cookies=no_cookies(),
        timeout=httpx.Timeout(request_timeout, connect=_CONNECT_SECONDS, pool=None),
        limits=httpx.Limits(
            max_connections=MAX_CONCURRENCY, max_keepalive_connections=MAX_CONCURRENCY
        ),
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn httpx's errors into ours.

    Raises:
        ConfigError: The certificate is not trusted; retrying is useless.
        TransientError: No answer, or one that breaks off.
    """
    try:
        yield
    except httpx.ConnectError as error:
        if _is_untrusted(error):
            raise ConfigError(
                f"Could not {what}: the server's certificate is not trusted. If it is "
                "signed by a private authority, name its PEM file in APEX_CA_BUNDLE."
            ) from error
        raise TransientError(f"Could not {what}: {_reason(error)}") from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise TransientError(f"Could not {what}: {_reason(error)}") from error
    except httpx.InvalidURL as error:
        raise ConfigError(f"Could not {what}: {error}") from error


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: Exception) -> str:
    """The kind of fault, for httpx leaves many messages empty."""
    return f"{type(error).__name__} {error}".strip()
