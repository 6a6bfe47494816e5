"""Faults on demand: which requests fail, how, and how often. Seeded, so repeatable."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from apex_pipeline.emulator import web_api_errors
from apex_pipeline.emulator.web_api_errors import WebApiError

KINDS = {
    "status": "answers `status` with a Dataverse error body (`code`, `message`)",
    "html": "answers `status` with the HTML page of a gateway",
    "drop_before": "closes the connection; nothing was committed",
    "drop_after": "commits, then closes the connection without an answer",
    "slow": "waits `delay` seconds, then goes on",
    "deadlock": "500 with SQL error 1205; nothing was committed",
    "sql_timeout": "500 with a SQL timeout; nothing was committed",
    "first_use": "the first `count` bulk writes to each table race: SQL error 3732",
    "unauthorized": "401, as for an expired token",
}
_HTML = (
    "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
    "<center><h1>{status} {reason}</h1></center>\r\n"
    "<hr><center>Microsoft-Azure-Application-Gateway/v2</center>\r\n"
    "</body>\r\n</html>\r\n"
)


@dataclass(slots=True)
class FaultRule:
    """One rule; requests are held against the rules in the order they were added.

    Attributes:
        kind: One of `KINDS`.
        status: HTTP status of `status` and `html`.
        code: Dataverse code of `status`.
        message: Text of `status`.
        retry_after: Retry-After in seconds, or an HTTP date as it is.
        count: How many requests fail; None for all.
        skip: How many matching requests pass before the first fails.
        probability: Chance that a matching request fails.
        method: Only this method.
        path: Only paths in which this regular expression is found. The default leaves
            the token endpoint, `/{tenant}/oauth2/v2.0/token`, alone.
        delay: Seconds; `slow` holds its place among concurrent requests meanwhile.
    """

    kind: str = "status"
    status: int = 503
    code: str = "0x80040216"
    message: str = "The service is unavailable."
    retry_after: str | None = None
    count: int | None = 1
    skip: int = 0
    probability: float = 1.0
    method: str | None = None
    path: str = "^/api/data/"
    delay: float = 0.0

    def matches(self, method: str, path: str) -> bool:
        """Whether a request is of the kind that this fault is for."""
        if self.kind == "first_use" and not path.endswith("Multiple"):
            return False
        return (
            self.count != 0
            and self.method in {None, method}
            and re.search(self.path, path) is not None
        )

    def error(self) -> WebApiError:
        """What the Web API answers."""
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        if self.kind in {"deadlock", "first_use"}:
            return web_api_errors.sql_error(1205 if self.kind == "deadlock" else 3732)
        if self.kind == "sql_timeout":
            return web_api_errors.sql_timeout()
        return WebApiError(self.status, self.code, self.message, headers)

    def page(self, reason: str) -> bytes:
        """What a gateway answers."""
        return _HTML.format(status=self.status, reason=reason).encode()


class Faults:
    """The rules in force, and the dice."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.clear()

    def clear(self) -> None:
        """Remove all rules and reset the random numbers."""
        self.rules: list[FaultRule] = []
        self._random = random.Random(self._seed)  # noqa: S311 # dice, not secrets
        self._first_uses: dict[str, int] = {}

    def add(self, values: Mapping[str, object]) -> FaultRule:
        """Add a rule.

        Raises:
            ValueError: The kind or a field is unknown, or the pattern is malformed.
        """
        known = {field.name for field in fields(FaultRule)}
        if unknown := set(values) - known:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        fault = FaultRule(**values)  # type: ignore[arg-type]  # JSON, checked below
        if fault.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if fault.retry_after is not None:
            fault.retry_after = str(fault.retry_after)
        if fault.kind == "html" and "status" not in values:
            fault.status = 502
        try:
            re.compile(fault.path)
        except re.error as error:
            raise ValueError(f"path: {error}") from None
        self.rules.append(fault)
        return fault

    def pick(self, method: str, path: str) -> FaultRule | None:
        """The fault that strikes this request, if any; uses it up by one."""
        for fault in self.rules:
            if not fault.matches(method, path):
                continue
            if fault.kind == "first_use":
                if self._first_use(fault, path):
                    return fault
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if self._random.random() >= fault.probability:
                continue
            if fault.count is not None:
                fault.count -= 1
            return fault
        return None

    def _first_use(self, fault: FaultRule, path: str) -> bool:
        used = self._first_uses.get(path, 0)
        self._first_uses[path] = used + 1
        return used < (1 if fault.count is None else fault.count)
