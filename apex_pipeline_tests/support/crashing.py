"""A sync that kills its own process at a named step.

It is put together from the real parts; only the step at which it dies is added.
"""

import asyncio
import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import dagster as dg

from apex_pipeline import definitions
from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.defs.sync import sync_assets
from apex_pipeline.metrics import CampaignMetric
from apex_pipeline.postgres import pending_rows, resent_rows
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.resent_rows import Slice
from apex_pipeline.postgres.row_marks import Marks
from apex_pipeline.postgres.store import Store, connect
from apex_pipeline.settings import load_settings
from apex_pipeline.sync.delivery_outcome import Delivery
from apex_pipeline.sync.request_delivery import DataverseSink
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline_tests.support.waiting import SECONDS

STEPS = (
    "holding_the_lock",
    "after_read",
    "after_send",
    "after_answer",
    "before_mark",
    "during_mark",
    "after_mark",
    "during_quarantine",
    "before_the_ledger",
)


def kill() -> None:
    """Kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


class Death:
    """Comes when a step is reached for the given time."""

    def __init__(
        self, step: str, count: int, strike: Callable[[], None] = kill
    ) -> None:
        self._step = step
        self._left = count
        self._strike = strike

    def at(self, step: str) -> None:
        if step == self._step:
            self._left -= 1
            if self._left <= 0:
                self._strike()


class DyingStore(Store):
    """The store, with steps."""

    def __init__(self, database: Database, death: Death) -> None:
        super().__init__(database)
        self._death = death
        self.ask = self._ask

    def start_run(self, **values):
        self._death.at("holding_the_lock")
        return super().start_run(**values)

    def _ask(self, work, *given, **named):
        found = self.database.ask(work, *given, **named)
        if work in {pending_rows.page, resent_rows.page}:
            self._death.at("after_read")
        return found

    def mark_exported(self, rows, at, **more):
        self._death.at("before_mark")
        half = len(rows) // 2
        first = super().mark_exported(rows[:half], at, **more)
        self._death.at("during_mark")
        second = super().mark_exported(rows[half:], at, **more)
        self._death.at("after_mark")
        return Marks(
            first.marked + second.marked,
            first.changed + second.changed,
            first.deleted + second.deleted,
            first.locked + second.locked,
            first.swallowed + second.swallowed,
            first.obstacles + second.obstacles,
        )

    def quarantine(self, rejections, at, **more):
        held = super().quarantine(rejections[:1], at, **more)
        self._death.at("during_quarantine")
        return held + super().quarantine(rejections[1:], at, **more)

    def finish_run(self, run_id, record):
        self._death.at("before_the_ledger")
        super().finish_run(run_id, record)


class DyingSink(DataverseSink):
    """The sink, with steps."""

    def __init__(
        self, client: DataverseClient, retry: RetryPolicy, death: Death
    ) -> None:
        super().__init__(client, retry)
        self._death = death

    async def deliver(
        self, metrics: Sequence[CampaignMetric], deadline: Deadline
    ) -> Delivery:
        sending = asyncio.create_task(super().deliver(metrics, deadline))
        # Far enough for the request to be on its way, seldom for its answer.
        done, _ = await asyncio.wait([sending], timeout=0.01)
        if not done:
            self._death.at("after_send")
        delivery = await sending
        self._death.at("after_answer")
        return delivery


def dying_sync(death: Death, store: Store, settings, token_cache, options, **more):
    """`run_sync` with steps."""
    return run_sync(
        DyingStore(store.database, death),
        settings,
        token_cache,
        dataclasses.replace(
            options, make_sink=lambda client, retry: DyingSink(client, retry, death)
        ),
        **more,
    )


def run_core(death: Death, part: Slice | None = None) -> None:
    settings = load_settings(os.environ)
    options = SyncOptions(StreamOptions(page_size=50, rows_per_request=10), part=part)
    with connect(settings.database_url) as store:
        dying_sync(death, store, settings.dataverse, settings.token_cache_path, options)


def run_slice(death: Death) -> None:
    """All rows once more, exported or not."""
    run_core(death, Slice(since=datetime(2000, 1, 1, tzinfo=UTC)))


def run_dagster(death: Death) -> None:
    """The real job, on the instance in DAGSTER_HOME."""
    vars(sync_assets)["run_sync"] = partial(dying_sync, death)
    job = resolve_job()
    portions = {"page_size": 50, "rows_per_request": 10}
    with dg.DagsterInstance.get() as instance:
        job.execute_in_process(
            instance=instance, run_config={"ops": {"sync": {"config": portions}}}
        )


def resolve_job(name: str = "sync_campaign_metrics") -> dg.JobDefinition:
    """A job as the code location has it."""
    return definitions.defs().resolve_job_def(name)


def _die(
    variables: Mapping[str, str], step: str, count: int, run: Callable[[Death], None]
) -> None:
    os.environ.update(variables)
    run(Death(step, count))


def crash(
    variables: Mapping[str, str],
    step: str,
    count: int,
    run: Callable[[Death], None] = run_core,
) -> bool:
    """Run a sync that dies in a process of its own; say whether it did."""
    # Forked off a process that has imported everything, but holds nothing of ours.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    process = processes.Process(target=_die, args=(variables, step, count, run))
    process.start()
    process.join(timeout=SECONDS)
    assert process.exitcode in {0, -signal.SIGKILL}
    return process.exitcode != 0
