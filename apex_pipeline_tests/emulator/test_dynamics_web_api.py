"""dynamics-web-api, a JavaScript client that knows nothing of the emulator."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from apex_pipeline_tests.support.emulator_server import token
from apex_pipeline_tests.support.waiting import SECONDS

VERSION = "2.5.0"
SCRIPT = Path(__file__).with_name("dynamics_web_api.mjs")


@pytest.mark.slow
def test_the_javascript_client_does_its_work(emulator, tmp_path):
    npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path)]
    subprocess.run([*npm, f"dynamics-web-api@{VERSION}"], check=True, timeout=120)
    script = shutil.copy(SCRIPT, tmp_path)
    done = subprocess.run(
        ["node", script, emulator.url, token(emulator)],
        env=os.environ | {"NODE_EXTRA_CA_CERTS": str(emulator.ca_bundle)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "fullname": "Ada Lovelace",
        "expanded": "Ada Lovelace",
        "formatted": "Ada Lovelace",
        "property": "one",
        "related": ["two"],
        "count": 1,
        "all": ["four", "three", "two"],
        "number": 3,
        "user": True,
        "table": 1,
        "referenced": "contact",
        "fetch": 501,
        "csdl": 501,
        "choices": 501,
        "caller": 501,
    }
