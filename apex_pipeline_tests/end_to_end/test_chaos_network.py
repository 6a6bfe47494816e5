"""A sync whose connections are delayed, trickle, break and lose their answers."""

import random
import time
from contextlib import ExitStack, suppress
from functools import partial
from urllib.parse import urlsplit

import psycopg
import pytest

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.errors import ApexError
from apex_pipeline.postgres import time_limits
from apex_pipeline.postgres.store import connect
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline_tests.support.ends import (
    campaign_row,
    delivered,
    differences,
    emulator_settings,
    insert,
    insert_many,
    marked,
    query,
)
from apex_pipeline_tests.support.faulty_network import FaultyNetwork
from apex_pipeline_tests.support.repeating import repeating
from apex_pipeline_tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos


def delay(network: FaultyNetwork) -> None:
    network.delay = 0.03


def trickle(network: FaultyNetwork) -> None:
    network.bytes_per_second = 50_000


def cut(network: FaultyNetwork) -> None:
    network.cut()
    time.sleep(1)
    network.mend()


def reset(network: FaultyNetwork) -> None:
    network.reset()


def lose_answers(network: FaultyNetwork) -> None:
    """What was sent arrives, and is done; of that nothing comes back."""
    network.freeze(answers_only=True)
    time.sleep(0.5)
    network.reset()
    network.mend()


def forget(network: FaultyNetwork) -> None:
    """Connections stay open on both sides, and carry nothing more."""
    network.forget()
    time.sleep(4)


SOME = (
    "id IN (SELECT id FROM campaign_metrics WHERE exported_at IS NULL"
    " ORDER BY random() LIMIT 20 FOR UPDATE SKIP LOCKED)"
)
CHANGE = f"UPDATE campaign_metrics SET tokens_in = tokens_in + 1 WHERE {SOME}"


def write(database_url: str) -> None:
    """Another program at work: new rows, changes, and changes taken back later."""
    choice = random.random()
    if choice < 0.5:
        insert(database_url, [campaign_row()])
        return
    with psycopg.connect(database_url) as connection:
        connection.execute(CHANGE.encode())
        if choice < 0.7:
            # All that time the rows are locked.
            time.sleep(0.5)
            connection.rollback()


@pytest.mark.parametrize("end", ["database", "dataverse"])
@pytest.mark.parametrize("fault", [delay, trickle, cut, reset, lose_answers, forget])
def test_whatever_the_network_does_marked_rows_are_delivered_and_none_is_lost(
    emulator, database_url, tmp_path, monkeypatch, end, fault
):
    # Postgres ends a transaction of which it hears no more after a tenth of the time.
    monkeypatch.setattr(time_limits, "_LEAST_IDLE", 3.0)
    insert_many(database_url, 1000)
    emulator.fault("slow", delay=0.1, count=100_000, path="UpsertMultiple")
    with ExitStack() as stack:
        here = urlsplit(database_url)
        there = urlsplit(emulator.url)
        assert here.port
        assert there.port
        to_database = stack.enter_context(FaultyNetwork(here.port))
        to_dataverse = stack.enter_context(FaultyNetwork(there.port, "localhost"))
        url = database_url.replace(f":{here.port}/", f":{to_database.port}/")
        origin = f"https://localhost:{to_dataverse.port}"
        settings = emulator_settings(
            emulator, resource=origin, authority=f"{origin}/{emulator.tenant_id}"
        )
        options = SyncOptions(
            StreamOptions(page_size=100, rows_per_request=20),
            time_budget=12,
            retry=RetryPolicy(attempts=5, first_wait=0.01, longest_wait=0.1),
            # What is only slow arrives late, also where it was given up, and then the
            # record holds older values: so here nothing is given up.
            request_timeout=120.0 if fault in (delay, trickle) else 5.0,
            beat_seconds=2.0,
        )

        def run() -> None:
            with suppress(ApexError), connect(url, wait_seconds=5) as store:
                run_sync(store, settings, tmp_path / "tokens.json", options)

        def disturb() -> None:
            if delivered(emulator):
                fault(to_database if end == "database" else to_dataverse)

        with (
            repeating(disturb, 0.3),
            repeating(partial(write, database_url), 0.05),
        ):
            run()
            assert marked(database_url) <= delivered(emulator)
        to_database.mend()
        to_dataverse.mend()
        emulator.clear_faults()

        def all_marked() -> bool:
            run()
            assert marked(database_url) <= delivered(emulator)
            rows = "SELECT count(*) FROM campaign_metrics WHERE exported_at IS NULL"
            return query(database_url, rows) == [(0,)]

        wait_until(all_marked)
    assert delivered(emulator) == marked(database_url)
    assert len(emulator.records()) == len(marked(database_url))
    assert differences(emulator, database_url) == []
