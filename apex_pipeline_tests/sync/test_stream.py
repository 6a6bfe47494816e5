"""The stream between a source and a sink that fail in every order."""

import asyncio
import random
import threading
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.dataverse.pacing import MAX_CONCURRENCY
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import (
    ApexError,
    DatabaseUnavailableError,
    OutOfTimeError,
    SystemicRejectionError,
    TransientError,
    WriterLockLostError,
)
from apex_pipeline.metrics import Rejection
from apex_pipeline.postgres.row_marks import Marks
from apex_pipeline.sync.delivery_outcome import Delivery
from apex_pipeline.sync.run_options import StreamOptions
from apex_pipeline.sync.stream import Stream
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.row_source import Source, after, no_beat, pending_row

INSTANT = datetime(2026, 11, 1, tzinfo=UTC)


class Sink:
    """Acknowledges everything, unless `behave` decides otherwise for a request."""

    def __init__(self, behave=None):
        self.behave = behave or (lambda metrics: Delivery(tuple(m.id for m in metrics)))
        self.records = []
        self.largest = 0

    async def deliver(self, metrics, deadline):
        await asyncio.sleep(0)
        self.largest = max(self.largest, len(metrics))
        delivery = self.behave(metrics)
        self.records.extend(delivery.acknowledged)
        return delivery


def flow(source, sink, *, deadline=None, beat=no_beat, beat_seconds=20.0, **options):
    async def go():
        stream = Stream(
            source,
            sink,
            StreamOptions(**options),
            deadline or Deadline(60),
            beat,
            beat_seconds=beat_seconds,
        )
        await stream.run()
        return stream.tally

    return asyncio.run(go())


def test_all_rows_flow_in_portions_and_are_marked_once():
    source, sink = Source([pending_row(n) for n in range(1, 2501)]), Sink()
    tally = flow(source, sink, page_size=400, rows_per_request=70)
    assert sorted(source.marked) == sorted(source.rows)
    assert sink.largest == 70
    assert (tally.rows_read, tally.delivered, tally.rejected) == (2500, 2500, 0)
    assert tally.failure is None
    assert len(tally.preview) == 10


def test_nothing_pending_is_nothing_done():
    source, sink = Source([]), Sink()
    assert flow(source, sink).rows_read == 0
    assert (sink.records, source.marked) == ([], [])


def test_a_limit_is_kept_to_the_row():
    source, sink = Source([pending_row(n) for n in range(1, 501)]), Sink()
    tally = flow(source, sink, page_size=100, rows_per_request=30, limit=250)
    assert tally.rows_read == tally.delivered == 250
    assert sorted(sink.records) == sorted(source.rows)[:250]


def test_a_dry_run_reads_and_touches_nothing():
    bad = pending_row(7, tokens_in=2**40)
    source, sink = Source([pending_row(1), bad]), Sink()
    tally = flow(source, sink, dry_run=True)
    assert (tally.rows_read, tally.delivered, tally.rejected) == (2, 0, 1)
    assert (sink.records, source.marked, source.quarantined) == ([], [], [])


def test_a_row_that_the_columns_cannot_hold_never_travels():
    source = Source([pending_row(1), pending_row(2, phase="x" * 17), pending_row(3)])
    sink = Sink()
    tally = flow(source, sink)
    assert str(UUID(int=2)) not in sink.records
    assert [one.id for one in source.quarantined] == [str(UUID(int=2))]
    assert "phase is 17 characters long" in source.quarantined[0].message
    assert (tally.delivered, tally.rejected) == (2, 1)


def refuse(*numbers, code="0x80044331", suspect=False):
    bad = {str(UUID(int=n)) for n in numbers}

    def behave(metrics):
        good = tuple(m.id for m in metrics if m.id not in bad)
        refused = tuple(Rejection(m.id, code, "no") for m in metrics if m.id in bad)
        if suspect:
            return Delivery(good, suspects=refused)
        return Delivery(good, refused)

    return behave


@pytest.mark.parametrize("suspect", [False, True])
def test_refused_rows_are_put_aside_and_the_others_land(suspect):
    source = Source([pending_row(n) for n in range(1, 3001)])
    bad = (5, 6, 1000, 2999, 3000)
    tally = flow(source, Sink(refuse(*bad, suspect=suspect)))
    assert len(source.marked) == 2995
    assert sorted(one.id for one in source.quarantined) == [
        str(UUID(int=n)) for n in bad
    ]
    assert tally.failure is None


def test_a_service_that_refuses_everything_quarantines_nothing():
    source = Source([pending_row(n) for n in range(1, 1001)])
    sink = Sink(refuse(*range(1, 1001), code="0x80040203", suspect=True))
    tally = flow(source, sink)
    assert isinstance(tally.failure, SystemicRejectionError)
    assert (source.quarantined, source.marked) == ([], [])


def test_one_poisoned_row_alone_does_not_stop_the_sync():
    source = Source([pending_row(1)])
    tally = flow(source, Sink(refuse(1, code="0x80040203", suspect=True)))
    assert tally.failure is None
    assert [one.id for one in source.quarantined] == [str(UUID(int=1))]


def test_what_was_acknowledged_before_the_service_died_is_marked():
    source = Source([pending_row(n) for n in range(1, 2001)])
    sink = Sink(after(7, TransientError("dead")))
    tally = flow(source, sink, rows_per_request=10)
    assert sorted(source.marked) == sorted(sink.records)
    assert len(source.marked) == 70
    assert isinstance(tally.failure, TransientError)


def test_time_that_runs_out_is_no_failure():
    source = Source([pending_row(n) for n in range(1, 2001)])
    sink = Sink(after(3, OutOfTimeError("throttled", retry_at=INSTANT)))
    tally = flow(source, sink, rows_per_request=10)
    assert tally.failure is None
    assert tally.out_of_time.retry_at == INSTANT
    assert sorted(source.marked) == sorted(sink.records)


def test_no_time_means_no_reading():
    source, sink = Source([pending_row(1)]), Sink()
    assert flow(source, sink, deadline=Deadline(0)).rows_read == 0
    assert sink.records == []


def test_a_database_that_dies_while_reading_fails_the_run_and_loses_nothing():
    source = Source([pending_row(n) for n in range(1, 501)])
    source.fail_at_page = 3
    sink = Sink()
    tally = flow(source, sink, page_size=100)
    assert isinstance(tally.failure, DatabaseUnavailableError)
    assert sorted(source.marked) == sorted(sink.records)


def test_a_database_that_dies_while_marking_fails_the_run():
    source = Source([pending_row(n) for n in range(1, 501)])
    source.fail_to_mark = True
    tally = flow(source, Sink(), page_size=100)
    assert isinstance(tally.failure, DatabaseUnavailableError)
    assert (source.marked, tally.delivered) == ([], 0)


def test_a_lost_lock_stops_the_sending():
    source = Source([pending_row(n) for n in range(1, 20_001)])
    sink = Sink()

    async def beat():
        raise WriterLockLostError("the lock is gone")

    tally = flow(source, sink, beat=beat, beat_seconds=0.001, rows_per_request=10)
    assert isinstance(tally.failure, WriterLockLostError)
    assert len(source.marked) < 20_000
    assert sorted(source.marked) == sorted(sink.records)


def test_a_defect_of_the_heartbeat_ends_the_run():
    async def beat():
        raise ZeroDivisionError

    source = Source([pending_row(n) for n in range(1, 20_001)])
    with pytest.raises(ExceptionGroup) as caught:
        flow(source, Sink(), beat=beat, beat_seconds=0.001, rows_per_request=10)
    assert caught.group_contains(ZeroDivisionError)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("culprit", ["sink", "source"])
def test_a_defect_ends_the_run_even_while_the_reader_waits_for_room(culprit):
    is_full = threading.Event()

    def stumble():
        raise ZeroDivisionError

    class Ahead(Source):
        def pending_page(self, after, limit):
            page = super().pending_page(after, limit)
            # All are busy, and the queue, which holds one page, has the one before.
            if self.pages == MAX_CONCURRENCY // 2 + 2:
                is_full.set()
            return page

        def mark_exported(self, rows, at):
            stumble()

    source = Ahead([pending_row(n) for n in range(4 * MAX_CONCURRENCY)])

    class Busy:
        """Every request runs for ever, except the one that fails."""

        def __init__(self):
            self.begun = 0

        async def deliver(self, metrics, deadline):
            self.begun += 1
            if self.begun != MAX_CONCURRENCY:
                await asyncio.Event().wait()
            await asyncio.to_thread(is_full.wait)
            if culprit == "sink":
                stumble()
            return Delivery(tuple(m.id for m in metrics))

    options = StreamOptions(page_size=2, rows_per_request=1)
    stream = Stream(source, Busy(), options, Deadline(), no_beat)
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(stream.run())
    assert caught.group_contains(ZeroDivisionError)


class Redated(Source):
    """A row is updated once it was read, and now is dated later than the others."""

    def __init__(self, rows, later):
        super().__init__(rows)
        self.later = later
        self.is_read = threading.Event()

    def pending_page(self, after, limit):
        self.pages += 1
        if self.pages == 1:
            return list(self.rows.values())
        if self.pages == 2:
            self.rows[self.later.id] = self.later
            return [self.later]
        self.is_read.set()
        return []

    def mark_exported(self, rows, at):
        kept = [row for row in rows if row == self.rows[row.id]]
        self.marked.extend(row.id for row in kept)
        return Marks(len(kept), changed=len(rows) - len(kept))


@pytest.mark.parametrize("number", [1, 2])
def test_a_row_does_not_overtake_its_earlier_version(number):
    later = pending_row(number, tokens_in=99)._replace(version="2")
    source = Redated([pending_row(1), pending_row(2)], later)

    class Slow:
        """The first request lands after those that begin while it is under way."""

        def __init__(self):
            self.is_first = True
            self.held = {}

        async def deliver(self, metrics, deadline):
            if self.is_first:
                self.is_first = False
                await asyncio.to_thread(source.is_read.wait)
                for _ in range(50):
                    await asyncio.sleep(0)
            self.held.update((metric.id, metric.fields) for metric in metrics)
            return Delivery(tuple(metric.id for metric in metrics))

    sink = Slow()
    tally = flow(source, sink, page_size=2, rows_per_request=2)
    assert (tally.delivered, tally.changed, tally.failure) == (1, 1, None)
    assert source.marked == [str(UUID(int=3 - number))]
    assert '"apex_tokensin":99' not in sink.held[later.id]


class Moody:
    """Answers each request at random, from a seed."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def __call__(self, metrics):
        mood = self.rng.random()
        if mood < 0.05:
            return Delivery(failure=TransientError("down"))
        if mood < 0.1:
            return Delivery(failure=OutOfTimeError("throttled"))
        bad = {m.id for m in metrics if self.rng.random() < 0.1}
        partial = self.rng.random() < 0.1
        failure: ApexError | None = TransientError("half-way") if partial else None
        good = tuple(m.id for m in metrics if m.id not in bad)
        return Delivery(
            good[: len(good) // 2] if partial else good,
            tuple(Rejection(one, "0x80044331", "no") for one in sorted(bad)),
            failure=failure,
        )


@given(
    st.integers(0, 2**32),
    st.integers(0, 400),
    st.integers(1, 90),
    st.integers(1, 50),
)
@examples(40)
def test_marked_is_acknowledged_whatever_happens(seed, rows, page_size, portion):
    source = Source([pending_row(n) for n in range(1, rows + 1)])
    sink = Sink(Moody(seed))
    tally = flow(source, sink, page_size=page_size, rows_per_request=portion)
    assert sorted(source.marked) == sorted(sink.records)
    assert len(set(source.marked)) == len(source.marked)
    assert not {one.id for one in source.quarantined} & set(source.marked)
    if tally.failure is None and tally.out_of_time is None:
        assert len(source.marked) + len(source.quarantined) == rows
