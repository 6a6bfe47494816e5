"""Checks of this machine: disk space for the state, and clock skew."""

import os
import shutil
from datetime import datetime
from pathlib import Path

from apex_pipeline.monitoring.doctor.check_results import (
    Measurement,
    failed,
    ok,
    warning,
)

MIN_FREE_BYTES = 100 * 1024**2
WARN_FREE_BYTES = 1024**3
MAX_SKEW_SECONDS = 60.0
SKEW_TARGET = f"at most {MAX_SKEW_SECONDS:g} s"
SKEW_REMEDY = "Synchronise this machine's clock with NTP."
WARN_SKEW_SECONDS = 10.0


def disk(state: Path, *, min_free_bytes: int = MIN_FREE_BYTES) -> Measurement:
    """Check free space and write access of the state folder, or of its future parent."""
    place = next(each for each in (state, *state.parents) if each.is_dir())
    free = shutil.disk_usage(place).free
    seen = f"{free / 1024**3:,.1f} GiB free in {place}"
    if not os.access(place, os.W_OK | os.X_OK):
        return failed(
            f"{place} is not writable",
            f"Grant this user write access to {place}, or set APEX_STATE_DIR to another "
            "folder.",
        )
    if free < min_free_bytes:
        return failed(seen)
    return warning(seen) if free < WARN_FREE_BYTES else ok(seen)


def skew(theirs: datetime, ours: datetime) -> Measurement:
    """Check how far this machine's clock differs from another's."""
    seconds = (ours - theirs).total_seconds()
    direction = "ahead" if seconds > 0 else "behind"
    seen = f"this machine is {abs(seconds):,.1f} s {direction}"
    if abs(seconds) > MAX_SKEW_SECONDS:
        return failed(seen)
    return warning(seen) if abs(seconds) > WARN_SKEW_SECONDS else ok(seen)
