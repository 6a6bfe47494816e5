"""An answer that is JSON, but not of the shape that the documentation gives it."""

from collections.abc import Iterator
from contextlib import contextmanager

from apex_pipeline.errors import DataverseError

_MISREAD = (
    *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError),
    RecursionError,
)


@contextmanager
def as_documented(what: str) -> Iterator[None]:
    """Read an answer, and nothing else, in this block.

    Args:
        what: Completes "could not …" in the message.

    Raises:
        DataverseError: The answer lacks something, or holds something of another type.
    """
    try:
        yield
    except _MISREAD as error:
        # The keys that are looked up are ours; other texts may quote the answer.
        is_missing = isinstance(error, KeyError) and error.args
        odd = (
            f"lacks {error.args[0]}" if is_missing else "is not of the documented shape"
        )
        raise DataverseError(
            f"Could not {what}: the answer {odd}. Something between here and Dataverse "
            "may have changed it; if not, report it with the output of `apex doctor`."
        ) from error
