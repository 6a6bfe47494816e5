"""Change tracking: delta links, and what changed since one was given.

From "Use change tracking to synchronize data with external systems". A delta token is
the row version and the time of the answer that gave it. Order within an answer, and
that deletions come last, are chosen.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from apex_pipeline.emulator import codecs, guids, record_queries, web_api_errors, wire
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.filters import Scope
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.record_queries import Query
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.storage import joined, quoted
from apex_pipeline.emulator.wire import OperationRequest, Response

_TOKEN = re.compile(r"(\d+)!(\d\d/\d\d/\d{4} \d\d:\d\d:\d\d)").fullmatch
_TIME = "%m/%d/%Y %H:%M:%S"


def list_changes(call: Call) -> Response:
    """All records with a delta link, or the changes since a delta link."""
    env, table, request = call.env, call.table, call.request
    call.user.require("Read", table, globally=True)
    if not table.definition["ChangeTrackingEnabled"]:
        raise web_api_errors.invalid_definition(
            f"Entity: {table.name} isn't enabled for change tracking."
        )
    token = request.options().get("$deltatoken")
    since = _read_token(env, token) if token else None
    query = record_queries.understand(
        Scope(env, call.user, table), request, tracked=True
    )
    return _page(env, table, request, query, since)


def _page(
    env: EmulatedEnvironment,
    table: Table,
    request: OperationRequest,
    query: Query,
    since: int | None,
) -> Response:
    """One page; the version that the delta link will name travels with the pages.

    Records that change while the pages are read may be shown twice, never missed.
    """
    seen, behind, page = _read_skip(request)
    until = seen or env.storage.version
    key = quoted(table.primary_key)
    rows = env.storage.select(
        table,
        f"{query.projection.sql()}, {key}",
        f"versionnumber > ? AND {key} > ?",
        (since or 0, behind),
        order=key,
        limit=query.page_size + 1,
    )
    shown = rows[: query.page_size]
    show = query.projection.shower(env, request.annotations())
    objects = [f"{{{show(row[:-1])}}}" for row in shown]
    if len(rows) > len(shown):
        last = guids.load_guid(str(shown[-1][-1]))
        token = (
            f'<cookie pagenumber="{page + 1}" istracking="True" version="{until}"'
            f' last="{last}" />'
        )
        link = _link(request, table, "$skiptoken", token, keep_delta=since is not None)
        return _answer(table, request, query, objects, ("@odata.nextLink", link))
    if since is not None:
        deleted = _deleted(env, table, since)
        objects += [_tombstone(request, table, each) for each in deleted]
    at = datetime.fromtimestamp(env.clock.now(), UTC).strftime(_TIME)
    link = _link(request, table, "$deltatoken", f"{until}!{at}", keep_delta=False)
    return _answer(table, request, query, objects, ("@odata.deltaLink", link))


def _answer(
    table: Table,
    request: OperationRequest,
    query: Query,
    objects: list[str],
    link: tuple[str, str],
) -> Response:
    context = (
        f"{request.api}/$metadata#{table.entity_set}{query.projection.context()}/$delta"
    )
    body = (
        f'{{"@odata.context":{codecs.quote(context)},'
        f'"{link[0]}":{codecs.quote(link[1])},"value":[{",".join(objects)}]}}'
    )
    headers = {"Content-Type": wire.JSON_TYPE}
    if "odata.track-changes" in request.preferences():
        headers["Preference-Applied"] = "odata.track-changes"
    return Response(200, body.encode(), headers, len(objects))


def _read_token(env: EmulatedEnvironment, token: str) -> int:
    """The row version of a delta token; it lives seven days.

    The lifetime is the organization's ExpireChangeTrackingInDays. The code of an
    expired token is that of expired metadata stamps, the status is chosen.
    """
    match = _TOKEN(token)
    if match is None:
        raise web_api_errors.malformed_url(f"'{token[:100]}' is not a delta token.")
    given = datetime.strptime(match[2], _TIME).replace(tzinfo=UTC)
    days = env.storage.rows("SELECT expirechangetrackingindays FROM organization")
    age = datetime.fromtimestamp(env.clock.now(), UTC) - given
    if age > timedelta(days=days[0][0]):
        raise web_api_errors.expired_stamp()
    return int(match[1])


def _read_skip(request: OperationRequest) -> tuple[int | None, str, int]:
    token = request.options().get("$skiptoken", "")
    match = re.search(r'pagenumber="(\d+)".* version="(\d+)" last="([^"]+)"', token)
    if match is None:
        if token:
            raise web_api_errors.malformed_cookie()
        return None, "", 1
    return int(match[2]), guids.store_guid(match[3]), int(match[1])


def _deleted(env: EmulatedEnvironment, table: Table, since: int) -> list[str]:
    """Records deleted since, unless they were made again."""
    statement = joined(
        "SELECT DISTINCT record_id FROM deletion",
        "WHERE table_name = ? AND version > ? AND record_id NOT IN (SELECT",
        f"{quoted(table.primary_key)} FROM {quoted(table.name)})",
    )
    return [row[0] for row in env.storage.rows(statement, (table.name, since))]


def _tombstone(request: OperationRequest, table: Table, record_id: str) -> str:
    context = f"{request.api}/$metadata#{table.entity_set}/$deletedEntity"
    members = {"id": guids.load_guid(record_id), "reason": "deleted"}
    return json.dumps({"@odata.context": context, **members})


def _link(
    request: OperationRequest,
    table: Table,
    option: str,
    value: str,
    *,
    keep_delta: bool,
) -> str:
    given = request.options()
    names = ("$select", *(["$deltatoken"] if keep_delta else []))
    kept = {name: given[name] for name in names if name in given} | {option: value}
    options = "&".join(f"{name}={quote(text, safe=',')}" for name, text in kept.items())
    return f"{request.api}/{table.entity_set}?{options}"
