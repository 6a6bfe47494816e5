"""Query the running panel over HTTP, like any client."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from apex_pipeline.errors import ApexError
from apex_pipeline.settings import PanelSettings

_SECONDS = 10.0
_BUCKET = "apex_http_request_duration_seconds_bucket"


@dataclass(frozen=True, slots=True)
class ServedPanel:
    """A panel that may or may not be running."""

    settings: PanelSettings

    @property
    def url(self) -> str:
        """The panel's address."""
        return self.settings.url

    @property
    def authorization(self) -> dict[str, str]:
        """The header with the token; empty if no token is set."""
        token = self.settings.token
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    @contextmanager
    def client(
        self, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Client]:
        """A client that sends these headers; httpx's errors are translated.

        Raises:
            ApexError: The panel does not answer.
        """
        try:
            # The environment's proxies are for hosts outside this machine.
            with httpx.Client(
                base_url=self.url, headers=headers, timeout=_SECONDS, trust_env=False
            ) as client:
                yield client
        except httpx.HTTPError as error:
            raise ApexError(
                f"The panel does not answer at {self.url} ({type(error).__name__}). "
                "Start `apex up` or `apex panel`, or set APEX_PANEL_HOST and "
                "APEX_PANEL_PORT to its address."
            ) from error

    def time_answers(self, path: str, times: int) -> list[float]:
        """Time *times* answers in seconds, after one that does not count.

        Raises:
            ApexError: There was no answer, or one was not a success.
        """
        taken = []
        with self.client(self.authorization) as client:
            for _ in range(times + 1):
                began = time.perf_counter()
                answer = client.get(path)
                taken.append(time.perf_counter() - began)
                if not answer.is_success:
                    raise ApexError(f"{path} answers HTTP {answer.status_code}.")
        # The first request connects, and may wait for a first read of Dataverse.
        return taken[1:]

    def text(self, path: str) -> str:
        """The body of an answer.

        Raises:
            ApexError: There was no answer, or it was not a success.
        """
        with self.client(self.authorization) as client:
            answer = client.get(path)
        if not answer.is_success:
            raise ApexError(f"{path} answers HTTP {answer.status_code}.")
        return answer.text

    def document(self, path: str) -> dict[str, Any]:
        """The JSON object that a route returns.

        Raises:
            ApexError: There was no answer, or it was not a JSON object.
        """
        try:
            found = json.loads(self.text(path))
        except ValueError as error:
            raise ApexError(f"{path} does not return JSON.") from error
        if not isinstance(found, dict):
            raise ApexError(f"{path} does not return a JSON object.")
        return found


def percentile_bound(exposition: str, percent: float) -> tuple[float, int] | None:
    """Estimate a percentile of the answer times from the panel's histogram.

    Args:
        exposition: The text of `GET /metrics`.
        percent: Above 0, at most 100.

    Returns:
        The smallest histogram bound that *percent* of the API's answers did not exceed,
        in seconds (infinity above the largest), and the number of answers; None without
        answers.
    """
    counts: dict[float, float] = {}
    families = text_string_to_metric_families(exposition)
    for sample in (each for family in families for each in family.samples):
        labels = sample.labels
        if (
            (sample.name, labels.get("method"), labels.get("status"))
            == (_BUCKET, "GET", "200")
        ) and labels["route"].startswith("/api/"):  # fmt: skip
            bound = float(labels["le"])
            counts[bound] = counts.get(bound, 0.0) + sample.value
    total = counts.get(float("inf"), 0.0)
    if not total:
        return None
    needed = total * percent / 100
    return min(b for b, passed in counts.items() if passed >= needed), int(total)
