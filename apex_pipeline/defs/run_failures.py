"""Our errors as failures of a run."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from apex_pipeline.errors import ApexError


@contextmanager
def failures() -> Iterator[None]:
    """Turn our errors into a run failure that shows only the message.

    Dagster does not retry it: what may help has been tried, or the next tick tries it.
    """
    try:
        yield
    except ApexError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
