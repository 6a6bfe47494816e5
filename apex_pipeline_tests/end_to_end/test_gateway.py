"""A gateway in front of Dataverse that answers some requests in its place."""

import logging
from itertools import count

import pytest

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.errors import InterceptedError
from apex_pipeline.postgres import run_ledger, stored_pacing
from apex_pipeline.quarantine import decisions
from apex_pipeline.sync.pacing_memory import pacing_key
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline_tests.support.emulator_server import web_api
from apex_pipeline_tests.support.ends import delivered, differences, insert_many, marked
from apex_pipeline_tests.support.hostile import answer, serving

ROWS = 200
PORTAL = {"Content-Type": "text/html; charset=utf-8", "Server": "portal/1"}
PAGE = b"<html><head><title>Sign in to the network</title></head></html>"
IN_ITS_PLACE = {
    "a page": answer(200, PORTAL, PAGE),
    "queued": answer(202, {"Server": "portal/1"}),
    "an empty document": answer(
        200, {"Content-Type": "application/json", "Server": "portal/1"}, b"{}"
    ),
    "no version": answer(204, {"Server": "portal/1"}),
    "a redirect": answer(302, {"Location": "https://x.example/", "Server": "portal/1"}),
    "a page with 403": answer(403, PORTAL, PAGE),
}


@pytest.fixture
def gateway(emulator, tmp_path):
    """Passes everything on to the emulator, by the emulator's own token."""
    with serving(tmp_path) as server, web_api(emulator) as behind:

        def pass_on(asked):
            kept = {
                name: value
                for name, value in asked.headers.items()
                if name.lower() not in {"authorization", "host", "accept-encoding"}
            }
            found = behind.request(
                asked.method,
                f"{emulator.url}{asked.path}",
                content=asked.body,
                headers=kept | {"Accept-Encoding": "identity"},
            )
            headers = {
                name: value
                for name, value in found.headers.items()
                if name not in {"content-length", "transfer-encoding", "connection"}
            }
            return answer(found.status_code, headers, found.content)

        server.says = pass_on
        yield server


def answering(gateway, said, *, every):
    """Have it answer each so-many-th bulk request, which goes no further."""
    pass_on, number = gateway.says, count(1)

    def says(asked):
        if asked.path.endswith("UpsertMultiple") and next(number) % every == 0:
            return said
        return pass_on(asked)

    gateway.says = says


def sync(gateway, store, tmp_path, *, attempts):
    store.ask(stored_pacing.save_pacing, pacing_key(gateway.settings()), {}, None)
    return run_sync(
        store,
        gateway.settings(),
        tmp_path / "tokens.json",
        SyncOptions(
            StreamOptions(rows_per_request=10),
            retry=RetryPolicy(attempts=attempts, first_wait=0.001),
        ),
    )


@pytest.mark.parametrize("kind", IN_ITS_PLACE)
def test_no_row_is_marked_that_has_no_record(
    gateway, emulator, store, database_url, tmp_path, caplog, kind
):
    insert_many(database_url, ROWS)
    answering(gateway, IN_ITS_PLACE[kind], every=4)
    with caplog.at_level(logging.WARNING):
        report = sync(gateway, store, tmp_path, attempts=1)
    assert isinstance(report.failure, InterceptedError)
    assert "something between us and Dataverse answers in its place" in str(
        report.failure
    )
    assert 0 < len(delivered(emulator)) < ROWS
    assert marked(database_url) == delivered(emulator)
    assert report.delivered == len(delivered(emulator))
    told = str(store.ask(run_ledger.last_runs, 1)[0].error)
    assert "server portal/1" in told
    assert ("page “Sign in to the network”" in told) is ("page" in kind)
    assert "portal/1" in caplog.text


def test_what_it_answers_now_and_then_costs_a_repetition_and_is_told(
    gateway, emulator, store, database_url, tmp_path, caplog
):
    insert_many(database_url, ROWS)
    answering(gateway, IN_ITS_PLACE["a page"], every=4)
    with caplog.at_level(logging.WARNING):
        report = sync(gateway, store, tmp_path, attempts=30)
    assert (report.failure, report.delivered) == (None, ROWS)
    assert marked(database_url) == delivered(emulator)
    assert differences(emulator, database_url) == []
    assert "server portal/1, page “Sign in to the network”" in caplog.text


def test_what_it_always_answers_marks_and_quarantines_nothing(
    gateway, emulator, store, database_url, tmp_path
):
    insert_many(database_url, ROWS)
    answering(gateway, answer(400, PORTAL, PAGE), every=1)
    report = sync(gateway, store, tmp_path, attempts=2)
    assert isinstance(report.failure, InterceptedError)
    assert (marked(database_url), delivered(emulator)) == (set(), set())
    assert (store.ask(decisions.count)[0], report.remaining) == (0, ROWS)
