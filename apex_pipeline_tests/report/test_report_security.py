"""The security checklist: each line fails for its own fault and no other."""

import subprocess
import sys
from http.server import BaseHTTPRequestHandler

import pytest

from apex_pipeline.report.document import LineState
from apex_pipeline.report.report_subject import read_subject
from apex_pipeline.report.security_checklist import checklist
from apex_pipeline_tests.support.ends import environment, execute
from apex_pipeline_tests.support.http_server import serving
from apex_pipeline_tests.support.panel_server import TOKEN, served

SECRET = "sentinel-client~secret"


@pytest.fixture
def variables(emulator, database_url, tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    return environment(emulator, database_url, state) | {
        "AZURE_CLIENT_SECRET": SECRET,
        # No server listens there.
        "APEX_PANEL_PORT": "1",
    }


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def lines(variables):
    return {line.name: line for line in checklist(read_subject(variables), {})}


def states(variables):
    return {name: line.state for name, line in lines(variables).items()}


def panel_at(url, **changes):
    return {"APEX_PANEL_PORT": url.rpartition(":")[2], **changes}


def test_what_nobody_serves_is_not_measured_and_says_why(variables):
    found = lines(variables)
    for name in ("panel: access", "panel: other sites", "panel: headers"):
        assert found[name].state is LineState.NOT_MEASURED
        assert "does not answer" in found[name].actual
    assert found["logs"].state is LineState.NOT_MEASURED
    assert found["token cache"].state is LineState.NOT_MEASURED
    assert found["state folder"].state is LineState.MET
    assert found["process list"].state is LineState.MET
    assert found["file .env"].state is LineState.MET
    assert found["role apex_analyst"].state is LineState.MET
    assert found["connection to Postgres"].state is LineState.MET


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_panel_is_well_behind_its_token_or_on_this_machine(variables, token):
    with served(variables, token=token) as url:
        variables |= panel_at(url, **({"APEX_PANEL_TOKEN": token} if token else {}))
        found = states(variables)
    assert found["panel: access"] is LineState.MET
    assert found["panel: other sites"] is LineState.MET
    assert found["panel: headers"] is LineState.MET


def test_a_panel_without_the_token_that_is_configured_is_found_out(variables):
    with served(variables) as url:
        variables |= panel_at(url, APEX_PANEL_TOKEN=TOKEN)
        found = states(variables)
    assert found["panel: access"] is LineState.NOT_MET


class _Open(BaseHTTPRequestHandler):
    """Answers every request of every client."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        self.do_GET()


def test_what_lets_everybody_in_is_found_out(variables):
    with serving(_Open) as url:
        found = states(variables | panel_at(url))
    assert {name for name, state in found.items() if state is LineState.NOT_MET} == {
        "panel: access",
        "panel: other sites",
        "panel: headers",
    }


def _loosen_state(state):
    state.chmod(0o755)


def _loosen_file(state):
    (state / "kept.json").write_text(SECRET)
    (state / "kept.json").chmod(0o644)


def _loosen_cache(state):
    (state / "token_cache.json").write_text("{}")
    (state / "token_cache.json").chmod(0o640)


def _log_it(state):
    (state / "logs").mkdir()
    (state / "logs" / "panel.log").write_text(f"it is {SECRET}\n")


def _loosen_dotenv(state):
    (state.parent / ".env").write_text("A=b\n")
    (state.parent / ".env").chmod(0o644)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (_loosen_state, "state folder"),
        (_loosen_file, "files with secrets"),
        (_loosen_cache, "token cache"),
        (_log_it, "logs"),
        (_loosen_dotenv, "file .env"),
    ],
)
def test_a_file_that_others_may_read_makes_its_line_red(
    variables, tmp_path, fault, name
):
    fault(tmp_path / "state")
    found = lines(variables)
    red = {line.name for line in found.values() if line.state is LineState.NOT_MET}
    assert red == {name}
    assert SECRET not in found[name].actual


def test_a_secret_on_a_command_line_is_found_and_not_repeated(variables):
    program = "import sys; print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, SECRET],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        line = lines(variables)["process list"]
        process.communicate()
    assert line.state is LineState.NOT_MET
    assert str(process.pid) in line.actual
    assert SECRET not in line.actual


def test_analysts_who_may_read_raw_rows_make_their_line_red(variables, database_url):
    execute(database_url, "GRANT SELECT ON campaign_metrics TO apex_analyst")
    line = lines(variables)["role apex_analyst"]
    assert line.state is LineState.NOT_MET
    assert "reads campaign_metrics" in line.actual
