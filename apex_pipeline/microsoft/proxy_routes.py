"""Connect directly to a host, or through the proxy that the environment names for it.

httpx reads the same variables, but a single NO_PROXY entry that it cannot parse makes
its client fail to start.
"""

import os
import re
import ssl

import httpx

from apex_pipeline.settings.proxies import load_proxies

_PORTS = {"http": 80, "https": 443}


def proxy_towards(url: httpx.URL) -> str | None:
    """The proxy for an address; None for a direct connection.

    Raises:
        ConfigError: The variable does not contain the address of an HTTP proxy.
    """
    port = url.port or _PORTS.get(url.scheme, 0)
    return load_proxies(os.environ).towards(url.scheme, url.host, port)


def proxy_refusal(said: str) -> str:
    """The sentence for a proxy that does not open the connection that it was asked for.

    Args:
        said: What the client tells of it; only the status is taken from it.
    """
    found = re.search(r"\b[1-5]\d\d\b", said)
    status = f" (HTTP {found[0]})" if found else ""
    proxies = load_proxies(os.environ).addresses
    variable = proxies["https"][0] if "https" in proxies else "HTTPS_PROXY"
    remedy = (
        "Write the right user and password into its address"
        if found and found[0] == "407"
        else "Have it allow this host, or add the host to NO_PROXY"
    )
    return f"the proxy that {variable} names refuses{status}. {remedy}."


class Routes(httpx.BaseTransport):
    """One transport per proxy, and one for direct connections."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._made: dict[str | None, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request through its host's proxy, or directly."""
        proxy = proxy_towards(request.url)
        if proxy not in self._made:
            self._made[proxy] = httpx.HTTPTransport(
                verify=self._context, proxy=proxy and _httpx_proxy(proxy, self._context)
            )
        return self._made[proxy].handle_request(request)

    def close(self) -> None:
        """Close what was opened."""
        for transport in self._made.values():
            transport.close()


class AsyncRoutes(httpx.AsyncBaseTransport):
    """The same for asynchronous clients."""

    def __init__(self, context: ssl.SSLContext, limits: httpx.Limits) -> None:
        self._context = context
        self._limits = limits
        self._ways: dict[tuple[bytes, int | None], httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request by its host's route, which is looked up once per host."""
        place = (request.url.raw_host, request.url.port)
        if place not in self._ways:
            proxy = proxy_towards(request.url)
            self._ways[place] = httpx.AsyncHTTPTransport(
                verify=self._context,
                limits=self._limits,
                proxy=proxy and _httpx_proxy(proxy, self._context),
            )
        return await self._ways[place].handle_async_request(request)

    async def aclose(self) -> None:
        """Close what was opened."""
        for transport in self._ways.values():
            await transport.aclose()


def _httpx_proxy(address: str, context: ssl.SSLContext) -> httpx.Proxy:
    is_secure = address.startswith("https:")
    return httpx.Proxy(address, ssl_context=context if is_secure else None)
