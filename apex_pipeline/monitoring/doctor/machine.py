"""This machine: room for the state, and the clock against others'."""

import os
import shutil
from datetime import datetime
from pathlib import Path

from apex_pipeline.monitoring.doctor.check_results import Finding, failed, ok, warning

MIN_FREE_BYTES = 100 * 1024**2
WARN_FREE_BYTES = 1024**3
MAX_SKEW_SECONDS = 60.0
WARN_SKEW_SECONDS = 10.0


def disk(state: Path, *, min_free_bytes: int = MIN_FREE_BYTES) -> Finding:
    """Room in the state folder, or where it would be made, and the right to write."""
    place = next(each for each in (state, *state.parents) if each.is_dir())
    free = shutil.disk_usage(place).free
    seen = f"{free / 1024**3:,.1f} GiB free in {place}"
    if not os.access(place, os.W_OK | os.X_OK):
        return failed(
            f"{place} cannot be written",
            f"Give this user the right to write to {place}, or choose another folder "
            "with APEX_STATE_DIR.",
        )
    if free < min_free_bytes:
        return failed(seen)
    return warning(seen) if free < WARN_FREE_BYTES else ok(seen)


def skew(theirs: datetime, ours: datetime) -> Finding:
    """How far this machine's clock is from another's."""
    seconds = (ours - theirs).total_seconds()
    direction = "ahead" if seconds > 0 else "behind"
    seen = f"this machine is {abs(seconds):,.1f} s {direction}"
    if abs(seconds) > MAX_SKEW_SECONDS:
        return failed(seen)
    return warning(seen) if abs(seconds) > WARN_SKEW_SECONDS else ok(seen)
