"""The parts of the Dataverse Web API v9.2 that the pipeline and provisioning use."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from apex_pipeline.dataverse import batch, documented_answers
from apex_pipeline.dataverse.record_pages import (
    DELTA_LINK,
    NEXT_LINK,
    TrackedPage,
    leading_on,
    records_of,
)
from apex_pipeline.dataverse.sender import Request, Sender
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import DataverseError
from apex_pipeline.microsoft.http_answer import Answer, Expectation
from apex_pipeline.settings import normal_origin

API_PATH = "/api/data/v9.2"

_JSON = {"Content-Type": "application/json; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class DataverseTable:
    """The names of one Dataverse table."""

    logical_name: str
    entity_set: str
    primary_key: str


class UpsertTarget(Protocol):
    """One record to upsert: its primary key, and its columns as a JSON object."""

    @property
    def key(self) -> str:
        """A UUID in lower case."""

    @property
    def fields(self) -> str:
        """Does not contain the key."""


class DataverseClient:
    """One environment, accessed as one application user.

    Raises:
        DataverseError: From any request; see the tree in `errors`.
        OutOfTimeError: From any request: the deadline came before there was room for it.
    """

    def __init__(self, resource: str, sender: Sender) -> None:
        self._origin = resource
        self._sender = sender

    def address(self, path: str) -> str:
        """The absolute address of a path below the API's root; references need it."""
        return f"{self._origin}{API_PATH}/{path}"

    async def upsert_multiple(
        self, table: DataverseTable, targets: Sequence[UpsertTarget], deadline: Deadline
    ) -> float:
        """Upsert all of the targets, or none of them (one transaction).

        Returns:
            How many seconds the service took.

        Raises:
            TooMuchError: Send fewer targets. These may have been upserted nevertheless.
            RejectedError: Dataverse rejects at least one target and does not say which.
        """
        head = f'{{"@odata.type":"Microsoft.Dynamics.CRM.{table.logical_name}",'
        records = ",".join(
            f'{head}"{table.primary_key}":"{target.key}",{target.fields[1:]}'
            for target in targets
        )
        answer = await self._sender.send(
            Request(
                "POST",
                f"{self._origin}{API_PATH}/{table.entity_set}"
                "/Microsoft.Dynamics.CRM.UpsertMultiple",
                f"upsert {len(targets)} records of {table.logical_name}",
                documented_answers.UPSERTED_MULTIPLE,
                f'{{"Targets":[{records}]}}'.encode(),
                _JSON,
                is_divisible=len(targets) > 1,
            ),
            deadline,
        )
        return answer.seconds

    async def upsert_each(
        self, table: DataverseTable, targets: Sequence[UpsertTarget], deadline: Deadline
    ) -> list[Answer]:
        """Upsert each target separately in one `$batch`; the answers keep the order.

        Raises:
            DataverseError: The batch as a whole failed; some may have been upserted.
        """
        content_type, body = batch.encode(
            [
                batch.Operation(
                    "PATCH",
                    f"{API_PATH}/{table.entity_set}({target.key})",
                    target.fields,
                )
                for target in targets
            ]
        )
        request = Request(
            "POST",
            f"{self._origin}{API_PATH}/$batch",
            f"upsert {len(targets)} records of {table.logical_name} one by one",
            documented_answers.batch_of([target.key for target in targets]),
            body,
            {"Content-Type": content_type, "Prefer": "odata.continue-on-error"},
            refuses_token=lambda answer: any(
                part.status == 401 for part in _parts(answer)
            ),
        )
        return _parts(await self._sender.send(request, deadline))

    async def upsert(
        self, table: DataverseTable, target: UpsertTarget, deadline: Deadline
    ) -> None:
        await self._sender.send(
            Request(
                "PATCH",
                f"{self._origin}{API_PATH}/{table.entity_set}({target.key})",
                f"upsert a record of {table.logical_name}",
                documented_answers.upserted(target.key),
                target.fields.encode(),
                _JSON,
            ),
            deadline,
        )

    async def delete(
        self, table: DataverseTable, key: UUID, deadline: Deadline
    ) -> None:
        """Delete one record.

        Raises:
            SchemaDriftError: Status 404: the record does not exist (any more).
        """
        await self._sender.send(
            Request(
                "DELETE",
                self.address(f"{table.entity_set}({key})"),
                f"delete a record of {table.logical_name}",
                documented_answers.DONE,
            ),
            deadline,
        )

    async def get(
        self,
        path: str,
        *,
        what: str,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        expected: Expectation = documented_answers.DOCUMENT,
    ) -> dict[str, Any]:
        """Read one JSON document below the API's root; decimals stay exact."""
        return await self._get(
            self.address(path), what, headers or {}, deadline, expected
        )

    async def write(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        what: str,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        expected: Expectation = documented_answers.DONE,
    ) -> None:
        """Send a request that must not run twice; retry only if it surely did not run.

        Raises:
            TransientError: The request may have been carried out; check before you
                send it again.
        """
        await self._sender.send(
            Request(
                method,
                self.address(path),
                what,
                expected,
                None
                if body is None
                else json.dumps(body, default=float, allow_nan=False).encode(),
                _JSON | dict(headers or {}),
                is_repeatable=False,
            ),
            deadline,
        )

    async def pages(
        self, path: str, *, what: str, deadline: Deadline, page_size: int = 5000
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Read a collection page by page, following `@odata.nextLink` unchanged.

        Raises:
            DataverseError: Also for a link to another host, which must not receive the
                token.
        """
        headers = {"Prefer": f"odata.maxpagesize={page_size}"}
        expected = leading_on(documented_answers.RECORDS, followed := set[str]())
        url: str | None = self.address(path)
        while url is not None:
            followed.add(url)
            document = await self._get(url, what, headers, deadline, expected)
            yield records_of(document, what)
            url = self._link(document.get(NEXT_LINK), what)

    async def tracked_page(
        self, url: str, *, what: str, deadline: Deadline, page_size: int = 5000
    ) -> TrackedPage:
        """Read a page of all records, or of their changes, with change tracking on.

        Args:
            url: The absolute address to begin with, or a link from an earlier page.
            what: Completes "could not …" in messages.
            deadline: The request must start before it.
            page_size: The most records on a page.

        Raises:
            RejectedError: The table is not tracked, or the link is too old.
            DataverseError: Also for a link to another host.
        """
        headers = {"Prefer": f"odata.track-changes,odata.maxpagesize={page_size}"}
        self._link(url, what)
        expected = leading_on(documented_answers.TRACKED, {url})
        document = await self._get(url, what, headers, deadline, expected)
        return TrackedPage(
            records_of(document, what),
            self._link(document.get(NEXT_LINK), what),
            self._link(document.get(DELTA_LINK), what),
        )

    async def column_types(
        self, table: DataverseTable, deadline: Deadline
    ) -> dict[str, str]:
        """Logical name to `AttributeType` of every column of the table.

        Raises:
            SchemaDriftError: The table does not exist.
        """
        what = f"read the columns of {table.logical_name}"
        document = await self.get(
            f"EntityDefinitions(LogicalName='{table.logical_name}')/Attributes"
            "?$select=LogicalName,AttributeType",
            what=what,
            deadline=deadline,
            headers={"Consistency": "Strong"},
            expected=documented_answers.RECORDS,
        )
        return {
            str(column.get("LogicalName")): str(column.get("AttributeType"))
            for column in records_of(document, what)
        }

    async def _get(
        self,
        url: str,
        what: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        expected: Expectation,
    ) -> dict[str, Any]:
        answer = await self._sender.send(
            Request("GET", url, what, expected, headers=headers), deadline
        )
        if not isinstance(answer.document, dict):
            raise DataverseError(f"Could not {what}: the answer is not a JSON object.")
        return answer.document

    def _link(self, url: str | None, what: str) -> str | None:
        """The link, if it stays within the environment; the token goes along with it.

        Raises:
            DataverseError: The link leads to another host.
        """
        if url is None:
            return None
        theirs = normal_origin(url)
        if theirs is not None and theirs == normal_origin(self._origin):
            return url
        raise DataverseError(
            f"Could not {what}: the next page's link leads to another host."
        )


def _parts(answer: Answer) -> list[Answer]:
    return batch.decode(answer.headers.get("content-type", ""), answer.body)
