"""Tell a run that achieved nothing from one that had to wait."""

from apex_pipeline.errors import NoProgressError, OutOfTimeError
from apex_pipeline.sync.tally import Tally

_MOST = 0.5


def lack_of_progress(
    tally: Tally,
    *,
    throttled_seconds: float,
    elapsed: float,
    next_rows: int,
    time_budget: float,
) -> NoProgressError | None:
    """The error for a run that had rows and achieved nothing; None for any other.

    Having to wait for Dataverse is not a fault. Nor are rows that the application
    updates or locks just now: the next run sends them, and the health watch reports
    those that wait for too long.

    Args:
        tally: The counts of a run that had rows to send.
        throttled_seconds: The pauses that Dataverse asked for.
        elapsed: Seconds since the run began.
        next_rows: Rows per request of the next run.
        time_budget: Seconds that the run had.
    """
    answered = tally.rejected + tally.deleted + tally.changed + tally.locked
    if tally.delivered + answered or had_to_wait(
        tally.out_of_time, throttled_seconds, elapsed
    ):
        return None
    if tally.too_much is not None:
        slow = tally.too_much
        return NoProgressError(
            f"No row was marked: a request of {slow.rows} rows failed after "
            f"{slow.seconds:.0f} s; it took too long or was too large. The next run "
            f"sends {next_rows} rows per request. If this continues, look for what is "
            "slow in the environment: plug-ins and flows on the table, or a gateway in "
            "front of it."
        )
    late = tally.out_of_time
    if late is None:
        if tally.rows_read or elapsed < time_budget:
            return None
        return NoProgressError(
            f"No row was read within {time_budget:g} s: counting the pending rows and "
            "connecting used up the time. Give the run more time, or look for what "
            "slows Postgres down."
        )
    return NoProgressError(
        f"No row was marked within {time_budget:g} s. {late.__cause__ or late} The rows "
        "stay pending. Give the run more time, or fix what Dataverse reported."
    )


def had_to_wait(
    ended: OutOfTimeError | None, throttled_seconds: float, elapsed: float
) -> bool:
    """Whether Dataverse asked for a pause at the end of a run, or for most of it.

    Args:
        ended: What the run ended with, if it ran out of time.
        throttled_seconds: The pauses that Dataverse asked for.
        elapsed: Seconds since the run began.
    """
    is_paused = ended is not None and ended.retry_at is not None
    return is_paused or throttled_seconds > _MOST * elapsed
