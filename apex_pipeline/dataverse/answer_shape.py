"""Report an answer that is JSON but does not have its documented shape."""

from collections.abc import Iterator
from contextlib import contextmanager

from apex_pipeline.errors import DataverseError

_MISREAD = (
    *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError),
    RecursionError,
)


@contextmanager
def as_documented(what: str) -> Iterator[None]:
    """Translate errors of the block, which must only read an answer.

    Args:
        what: Completes "could not …" in the message.

    Raises:
        DataverseError: The answer lacks a value, or holds one of another type.
    """
    try:
        yield
    except _MISREAD as error:
        # Our own code chose the missing key; other messages may quote the answer.
        is_missing = isinstance(error, KeyError) and error.args
        odd = (
            f"lacks {error.args[0]}"
            if is_missing
            else "does not have the documented shape"
        )
        raise DataverseError(
            f"Could not {what}: the answer {odd}. A proxy on the way to Dataverse may "
            "have changed it; if not, report it with the output of `apex doctor`."
        ) from error
