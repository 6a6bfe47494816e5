"""A receiver of OpenLineage that takes what the specification's schemas allow."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from apex_pipeline_tests.support.http_server import serving

_FOLDER = Path(__file__).parents[1] / "lineage" / "openlineage_schema"
_SCHEMAS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in _FOLDER.glob("*.json")
}
_REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in _SCHEMAS.values()
)
# By the name of the facet in an event.
_FACETS = {
    "columnLineage": "ColumnLineageDatasetFacet",
    "schema": "SchemaDatasetFacet",
    "outputStatistics": "OutputStatisticsOutputDatasetFacet",
    "jobType": "JobTypeJobFacet",
    "processing_engine": "ProcessingEngineRunFacet",
    "errorMessage": "ErrorMessageRunFacet",
}


@dataclass
class Receiver:
    """What it took, and what it answers first.

    Attributes:
        statuses: Of its first answers; with any but 201 it takes nothing.
        said: Headers and body of each answer.
    """

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    said: tuple[dict[str, str], bytes] = ({}, b"")
    events: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)

    def take(self, path: str, body: bytes, authorization: str | None) -> int:
        self.authorizations.append(authorization)
        if self.statuses and (status := self.statuses.pop(0)) != 201:
            return status
        event = json.loads(body)
        self.faults += [] if path == "/api/v1/lineage" else [path]
        self.faults += faults(event)
        self.events.append(event)
        return 201


def faults(event: dict[str, Any]) -> list[str]:
    """Where an event, or a facet in it, breaks its schema."""
    found = _broken("OpenLineage", event)
    holders = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
    for holder in holders:
        facets = {
            **holder.get("facets", {}),
            **holder.get("inputFacets", {}),
            **holder.get("outputFacets", {}),
        }
        for name, facet in facets.items():
            found += _broken(_FACETS[name], {name: facet})
    return found


def _broken(schema: str, document: Any) -> list[str]:
    validator = Draft202012Validator(_SCHEMAS[schema], registry=_REGISTRY)
    return [f"{schema}: {each.message}" for each in validator.iter_errors(document)]


@contextmanager
def lineage_receiver() -> Iterator[Receiver]:
    """Serve one on this machine."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.take(self.path, body, self.headers.get("Authorization"))
            headers, said = receiver.said
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(said))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def do_GET(self) -> None:
            # Where a redirect leads to, everything is well.
            receiver.followed.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler) as receiver.url:
        yield receiver
