"""One read for all viewers, on the test's own clock."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from itertools import cycle, pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.errors import OutOfTimeError, TransientError
from apex_pipeline.panel.api_documents import poll_after
from apex_pipeline.panel.cache import CacheTiming, Shared

TIMING = CacheTiming(fresh=10, stale=50, limit=15, first_pause=10, longest_pause=80)
NOW = datetime(2026, 11, 25, tzinfo=UTC)


class Source:
    """A source with a given duration and given failures."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reads: list[float] = []
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.shared = Shared(
            self.read,
            TIMING,
            source="the source",
            clock=lambda: self.now,
            now=lambda: NOW + timedelta(seconds=self.now),
        )

    async def read(self) -> float:
        begun = self.now
        self.reads.append(begun)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return begun


async def settled() -> None:
    """Let all tasks continue as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


def simulated(scenario: Callable[[Source], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario(Source()))


def test_all_who_come_at_once_share_one_read():
    async def scenario(source: Source) -> None:
        source.gate = asyncio.Event()
        viewers = [asyncio.create_task(source.shared.get()) for _ in range(50)]
        await settled()
        source.gate.set()
        assert {(await viewer).value for viewer in viewers} == {0.0}
        assert source.reads == [0.0]

    simulated(scenario)


def test_a_viewer_who_hangs_up_does_not_take_the_read_from_the_others():
    async def scenario(source: Source) -> None:
        source.gate = asyncio.Event()
        first = asyncio.create_task(source.shared.get())
        second = asyncio.create_task(source.shared.get())
        await settled()
        first.cancel()
        await settled()
        source.gate.set()
        assert (await second).value == 0.0
        assert source.reads == [0.0]

    simulated(scenario)


def test_an_old_value_is_served_while_the_next_is_read():
    async def scenario(source: Source) -> None:
        await source.shared.get()
        source.now, source.gate = 30.0, asyncio.Event()
        reading = await source.shared.get()
        assert (reading.value, reading.age, reading.under_way) == (0.0, 30.0, 0.0)
        source.gate.set()
        await settled()
        assert (await source.shared.get()).value == 30.0

    simulated(scenario)


@given(
    phase=st.floats(0, 30),
    takes=st.floats(0.01, 0.4),
    jitters=st.lists(st.floats(1, 1.05), min_size=1, max_size=9),
)
def test_a_viewer_sees_within_ten_seconds_what_is_new(phase, takes, jitters):
    """Poll like the page: at the given time, or up to a twentieth later."""

    async def scenario(source: Source) -> None:
        source.shared = Shared(
            source.read, CacheTiming(), source="the source", clock=lambda: source.now
        )
        await source.shared.get()
        source.now, source.gate = phase, asyncio.Event()
        jitter = cycle(jitters)
        first_shown: dict[float, float] = {}
        while source.now < phase + 60:
            reading = await source.shared.get()
            await settled()
            assert reading.value is not None
            first_shown.setdefault(reading.value, source.now)
            source.now += poll_after(reading) * next(jitter)
            if source.now >= source.reads[-1] + takes:
                source.gate.set()
                await settled()
                source.gate.clear()
        # What is new just after a read began is in the read after it. The first of them
        # was before anybody looked.
        _, *reads = first_shown
        assert len(reads) > 5
        assert all(first_shown[new] - old <= 10 for old, new in pairwise(reads))

    simulated(scenario)


def test_a_value_that_nobody_looked_at_for_long_is_not_shown_any_more():
    async def scenario(source: Source) -> None:
        await source.shared.get()
        source.now = 60.0
        assert (await source.shared.get()).value == 60.0

    simulated(scenario)


def test_an_old_value_is_better_than_a_source_that_hangs():
    async def scenario(source: Source) -> None:
        source.shared = Shared(
            source.read,
            CacheTiming(patience=0.01),
            source="the source",
            clock=lambda: source.now,
        )
        await source.shared.get()
        source.now, source.gate = 100.0, asyncio.Event()
        reading = await asyncio.wait_for(source.shared.get(), 10)
        assert (reading.value, reading.age, reading.under_way) == (0.0, 100.0, 0.0)

    simulated(scenario)


def test_a_failure_keeps_the_last_good_value_and_its_age():
    async def scenario(source: Source) -> None:
        await source.shared.get()
        source.failure = TransientError("down")
        source.now = 100.0
        reading = await source.shared.get()
        assert (reading.value, reading.age) == (0.0, 100.0)
        assert str(reading.failure) == "down"
        assert reading.current is None

    simulated(scenario)


def test_a_failure_that_nobody_looked_at_for_long_is_not_shown_any_more():
    async def scenario(source: Source) -> None:
        source.failure = TransientError("down")
        await source.shared.get()
        source.now, source.failure = 81.0, None
        reading = await source.shared.get()
        assert (reading.value, reading.failure) == (81.0, None)

    simulated(scenario)


def test_what_is_dead_is_asked_ever_more_seldom_and_nobody_waits_for_it():
    async def scenario(source: Source) -> None:
        source.failure = TransientError("down")
        await source.shared.get()
        source.gate = asyncio.Event()
        source.gate.set()
        for second in range(1, 400):
            source.now = float(second)
            await source.shared.get()
            await settled()
        assert source.reads == [0, 10, 30, 70, 150, 230, 310, 390]
        source.gate.clear()
        source.now = 479.0
        reading = await asyncio.wait_for(source.shared.get(), 5)
        assert reading.failure is not None

    simulated(scenario)


def test_a_source_that_says_until_when_to_wait_is_obeyed():
    async def scenario(source: Source) -> None:
        source.failure = OutOfTimeError("", retry_at=NOW + timedelta(seconds=45))
        await source.shared.get()
        source.failure = None
        source.now = 44.0
        assert (await source.shared.get()).value is None
        source.now = 45.0
        await source.shared.get()
        await settled()
        reading = await source.shared.get()
        assert (reading.value, reading.failure) == (45.0, None)

    simulated(scenario)


def test_a_read_that_never_ends_is_given_up():
    async def scenario() -> None:
        async def forever() -> int:
            await asyncio.Event().wait()
            return 1

        shared = Shared(forever, CacheTiming(limit=0.01), source="Dataverse")
        failure = (await shared.get()).failure
        assert isinstance(failure, TransientError)
        assert str(failure) == "Dataverse did not answer within 0.01 s."

    asyncio.run(scenario())


def test_a_slip_of_ours_is_no_outage_and_is_seen():
    async def scenario(source: Source) -> None:
        source.failure = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            await source.shared.get()
        await source.shared.get()
        assert source.reads == [0.0]

    simulated(scenario)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 120, allow_nan=False),  # seconds until somebody looks
            st.booleans(),  # whether the source then works
        ),
        max_size=40,
    )
)
def test_reads_are_never_closer_than_what_is_fresh_and_ages_are_true(looks):
    async def scenario(source: Source) -> None:
        for pause, works in looks:
            source.now += pause
            source.failure = None if works else TransientError("down")
            before = len(source.reads)
            reading = await source.shared.get()
            await settled()
            assert len(source.reads) - before <= 1
            if reading.value is None:
                assert reading.failure is not None
            else:
                # A value is the time when it was read.
                assert reading.age == source.now - reading.value
                assert reading.age < 60 or reading.failure is not None
        gaps = zip(source.reads, source.reads[1:], strict=False)
        assert all(later - earlier >= 10 for earlier, later in gaps)

    simulated(scenario)
