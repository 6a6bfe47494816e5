"""Rate limits per client: token buckets in bounded memory; pure."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST_CLIENTS = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit: `burst` requests at once, and `per_second` in the long run."""

    per_second: float
    burst: int


# A hundred viewers behind one address poll ten times a second, and each page load
# requests a handful of files.
REQUESTS = Rate(per_second=30, burst=300)
SIGN_INS = Rate(per_second=10 / 60, burst=10)


class Buckets:
    """A token bucket per client; the least recently seen client is forgotten."""

    def __init__(
        self,
        rate: Rate,
        *,
        most_clients: int = MOST_CLIENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._most_clients = most_clients
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one token.

        Returns:
            0 if there was one; else the seconds until the next one.
        """
        now = self._clock()
        level, at = self._buckets.pop(client, (float(self._rate.burst), now))
        level = min(self._rate.burst, level + (now - at) * self._rate.per_second)
        wait = max(0.0, (1 - level) / self._rate.per_second)
        self._buckets[client] = (level if wait else level - 1, now)
        if len(self._buckets) > self._most_clients:
            self._buckets.popitem(last=False)
        return wait


def client_of(address: str | None) -> str:
    """The client for an address; for IPv6, its whole /64 network.

    A host with IPv6 usually has 2⁶⁴ addresses.
    """
    if address is None:
        return "local"
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
