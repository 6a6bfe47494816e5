"""`apex provision dataverse` killed after each request that changes something."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apex_pipeline.audit import trail
from apex_pipeline.audit.intents import close_abandoned
from apex_pipeline.postgres.database import Database
from apex_pipeline_tests.support.empty_environment import (
    APPLICATION,
    SECRET,
    api,
    application,
    empty_emulator,
    emulator,
    everything,
    make,
)
from apex_pipeline_tests.support.ends import environment, execute

__all__ = ["api", "application", "empty_emulator", "emulator", "make"]
pytestmark = pytest.mark.slow

APEX = Path(sys.executable).with_name("apex")
WRITES = 9
"""Publisher, solution, table, role, privileges, user, its role, record made, removed."""

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CHANCE = re.compile(r'"(@odata\.etag|versionnumber|createdon|modifiedon)": [^,}]+')


def shape(api):
    """All that provisioning could touch, but for ids and times."""

    def sorted_(value):
        if isinstance(value, dict):
            return {name: sorted_(each) for name, each in value.items()}
        if isinstance(value, list):
            return sorted((sorted_(each) for each in value), key=json.dumps)
        return value

    text = _CHANCE.sub('"-": 0', json.dumps(everything(api), sort_keys=True))
    return sorted_(json.loads(_GUID.sub("id", text)))


def asked(emulator):
    """Methods of the requests to the Web API, in order."""
    return [
        r["method"] for r in emulator.requests() if r["path"].startswith("/api/data")
    ]


def hold_the_request_after(emulator, methods, write):
    """Have the emulator sit on the request that follows the given write."""
    at = [n for n, method in enumerate(methods) if method != "GET"][write] + 1
    method, skip = methods[at], methods[:at].count(methods[at])
    emulator.fault("slow", delay=60, method=method, skip=skip)


def wait_until_held(emulator, process):
    end = time.monotonic() + 60
    while not any(r["fault"] == "slow" for r in emulator.requests()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the request to die at never came"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def uninterrupted():
    """Filled by the first that gets there: methods in order, and what comes of them."""
    return {}


@pytest.fixture
def whole(uninterrupted, emulator, make, api):
    if not uninterrupted:
        before = len(asked(emulator))
        make()
        uninterrupted["methods"] = asked(emulator)[before:]
        uninterrupted["shape"] = shape(api)
        emulator.reset()
        emulator.register(APPLICATION, client_secret=SECRET, user=False)
    return uninterrupted


def the_killed_run_has_its_event(url):
    with Database(url, application_name="tests") as database:
        assert database.ask(trail.newest, limit=10) == []
        execute(url, "UPDATE audit_intent SET ends_by = now()")
        for _ in range(2):
            database.ask(close_abandoned)
        (event,) = database.ask(trail.newest, limit=10)
    assert (event["action"], event["outcome"]) == ("provision", "interrupted")


@pytest.mark.parametrize("write", range(WRITES - 1))
def test_the_next_run_finishes_what_a_killed_one_began(
    whole, emulator, api, make, database_url, tmp_path, write
):
    methods = whole["methods"]
    assert sum(method != "GET" for method in methods) == WRITES
    emulator.clear_requests()
    hold_the_request_after(emulator, methods, write)
    variables = environment(emulator, database_url, tmp_path / "state") | {
        "AZURE_CLIENT_ID": APPLICATION,
        "AZURE_CLIENT_SECRET": SECRET,
        "APEX_ADMIN_TENANT_ID": emulator.tenant_id,
        "APEX_ADMIN_CLIENT_ID": emulator.client_id,
        "APEX_ADMIN_CLIENT_SECRET": emulator.client_secret,
    }
    with subprocess.Popen(
        [APEX, "provision", "dataverse"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | variables,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_until_held(emulator, process)
        finally:
            process.send_signal(signal.SIGKILL)
    done = [r for r in emulator.requests() if r["path"].startswith("/api/data")]
    assert sum(r["method"] != "GET" and r["fault"] is None for r in done) == write + 1

    the_killed_run_has_its_event(database_url)
    outcome = make()
    assert len(outcome.plan.changes) == max(0, 6 - write)
    assert shape(api) == whole["shape"]
    assert emulator.records("apex_campaignmetrics") == []
    assert make().plan.changes == ()
