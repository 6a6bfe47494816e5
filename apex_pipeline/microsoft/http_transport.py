"""HTTP clients: trusted certificates, no cookies, and translated errors."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import httpx

from apex_pipeline.errors import ConfigError, TransientError
from apex_pipeline.microsoft.bounded_answers import BoundedAnswers
from apex_pipeline.microsoft.proxy_routes import Routes, proxy_refusal

CONNECT_SECONDS = 10.0
"""Patience with a host that does not take a connection."""


def trust(ca_bundle: Path | None) -> ssl.SSLContext:
    """Trust the system's certificates and those of the bundle.

    Raises:
        ConfigError: The bundle contains no certificate.
    """
    context = ssl.create_default_context()
    if ca_bundle is not None:
        try:
            context.load_verify_locations(cafile=ca_bundle)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"APEX_CA_BUNDLE names {ca_bundle}, which contains no PEM certificate."
            ) from error
    return context


def no_cookies() -> CookieJar:
    """A jar that stays empty: the affinity cookie would pin us to one web server.

    Limits apply per server (Microsoft Learn, "Send parallel requests").
    """
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))


def token_http(ca_bundle: Path | None, *, timeout: float = 30.0) -> httpx.Client:
    """The client for the authority and for Graph."""
    connect = min(timeout, CONNECT_SECONDS)
    return httpx.Client(
        transport=BoundedAnswers(Routes(trust(ca_bundle))),
        timeout=httpx.Timeout(timeout, connect=connect),
        trust_env=False,
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Translate httpx's errors into ours.

    Raises:
        ConfigError: The certificate is not trusted; a retry cannot help.
        TransientError: No answer, or a truncated one.
    """
    try:
        yield
    except httpx.ProxyError as error:
        raise TransientError(
            f"Could not {what}: {proxy_refusal(str(error))}"
        ) from error
    except httpx.ConnectError as error:
        if (found := _unverified(error)) is not None:
            raise ConfigError(
                f"Could not {what}: {certificate_fault(found)}"
            ) from error
        raise TransientError(f"Could not {what}: {_reason(error)}") from error
    except (
        httpx.TransportError,
        httpx.DecodingError,
        # In the middle of a stream, TLS failures raise Python's own errors.
        ssl.SSLError,
        ConnectionError,
    ) as error:
        raise TransientError(f"Could not {what}: {_reason(error)}") from error
    except httpx.InvalidURL as error:
        raise ConfigError(f"Could not {what}: {error}") from error


def certificate_fault(error: ssl.SSLCertVerificationError) -> str:
    """Explain why a server's certificate was refused, and what to do.

    Codes are OpenSSL's (`x509_vfy.h`).
    """
    said = f"({error.verify_message})"
    match error.verify_code:
        case 10:
            return (
                f"the server's certificate has expired {said}. Its operator must renew "
                "it, unless this machine's clock is fast."
            )
        case 9:
            return (
                f"the server's certificate is not valid yet {said}: check this "
                "machine's clock."
            )
        case 62 | 64:
            return (
                f"the server's certificate is for another host {said}: check the "
                "address, and the proxies on the way."
            )
    return (
        f"the server's certificate is not trusted {said}. If a private authority signed "
        "it, name its PEM file in APEX_CA_BUNDLE."
    )


def _unverified(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _reason(error: Exception) -> str:
    """The error's type and text; httpx leaves many texts empty."""
    return f"{type(error).__name__} {error}".strip()
