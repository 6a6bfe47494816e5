"""Who acts: in a process, in a run of Dagster, or through the panel."""

import getpass
import hashlib
import hmac
import os
import socket
from collections.abc import Mapping

from apex_pipeline.audit.events import Author
from apex_pipeline.settings import read_variable

ACTOR_VARIABLE = "APEX_ACTOR"
ACTOR_TAG = "apex/actor"
"""Run tag: who started the run; set by our commands, or by hand in the launchpad."""

# Dagster+ sets `user`; the others are Dagster's own.
_USER_TAG = "user"
_INSTIGATOR_TAGS = {
    "dagster/schedule_name": "schedule",
    "dagster/sensor_name": "sensor",
    "dagster/backfill": "backfill",
}
_FINGERPRINT_DIGITS = 12


def process_author(environment: Mapping[str, str]) -> Author:
    """The author of what this process does: APEX_ACTOR, else OS user and host."""
    return Author(read_variable(environment, ACTOR_VARIABLE) or _user_and_host())


def run_author(
    environment: Mapping[str, str], run_id: str, tags: Mapping[str, str]
) -> Author:
    """The author of what a run of Dagster does.

    The user that the run's tags name, else the schedule, sensor or backfill that started
    it, else the author of the process that executes it.
    """
    for tag in (ACTOR_TAG, _USER_TAG):
        if tags.get(tag, "").strip():
            return Author(tags[tag].strip(), run_id)
    for tag, kind in _INSTIGATOR_TAGS.items():
        if tags.get(tag):
            return Author(f"{kind} {tags[tag]}", run_id)
    return Author(process_author(environment).actor, run_id)


def panel_author(environment: Mapping[str, str], credential: str | None) -> Author:
    """The author of a request to the panel: the fingerprint of its token or session.

    Without a credential, which the panel allows on this machine alone, it is the user
    that runs the panel.
    """
    if credential is None:
        return Author(f"panel of {process_author(environment).actor}")
    # Keyed by itself: the plain hash of a token may stand in other places.
    mark = hmac.new(credential.encode(), b"apex audit", hashlib.sha256).hexdigest()
    return Author(f"panel token {mark[:_FINGERPRINT_DIGITS]}")


def _user_and_host() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a user id that has no name.
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
