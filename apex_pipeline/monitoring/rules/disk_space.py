"""Rule: free space on this machine's disks."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from apex_pipeline.monitoring.alerts.notice import Observation, Severity
from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline.monitoring.doctor.machine import MIN_FREE_BYTES, disk
from apex_pipeline.monitoring.rules.catalogue import STORAGE_FULL


def observe(
    places: Mapping[str, Path], *, min_free_bytes: int = MIN_FREE_BYTES
) -> Iterator[Observation]:
    """Observe the free space of each folder's disk.

    Args:
        places: Name of each folder, such as `state folder`, to its path.
        min_free_bytes: Less free space than this is an error.
    """
    for name, place in places.items():
        scope = f"{STORAGE_FULL.name}/{name}"
        found = disk(place, min_free_bytes=min_free_bytes)
        if found.state is CheckState.OK:
            yield Observation(scope)
            continue
        is_error = found.state is CheckState.FAILED
        finding = STORAGE_FULL.finding(
            f"{found.measured}.",
            where=name,
            severity=Severity.ERROR if is_error else Severity.WARNING,
            cause_key=found.state.value,
            remedy=found.remedy
            or f"Free some space on the disk of {place}, or enlarge the disk.",
        )
        yield Observation(scope, (finding,))
