"""What processes write to their logs, as text and as JSON."""

import asyncio
import io
import json
import logging
import os
import socket
import ssl
import subprocess
import sys

import dagster as dg
import httpx
import pytest
from dagster import _loggers as of_dagster
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from apex_pipeline.defs.run_logs import write_runs
from apex_pipeline.errors import ConfigError
from apex_pipeline.log_lines import JsonLines, TextLines, is_json, started_line
from apex_pipeline.web_gate.request_ids import HEADER, RequestIds
from apex_pipeline_tests.support.panel_server import served
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

KEYS = {"time", "level", "logger", "message", "tenant", "run_id", "request_id"}

_SCRIPT = """
import logging, logging.config, os, sys, warnings
from apex_pipeline import log_lines
from apex_pipeline.texts import redaction
from apex_pipeline.settings import read_secrets
read_secrets(os.environ)
redaction.install()
log_lines.install(os.environ)
logging.getLogger("apex_pipeline.x").warning("several\\nlines with %s", "arguments")
logging.config.dictConfig({
    "version": 1, "disable_existing_loggers": False,
    "formatters": {"coloured": {"format": "%(message)s in colour"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "coloured"}},
    "loggers": {"of_a_program": {"handlers": ["h"], "propagate": False}},
})
logging.getLogger("of_a_program").warning("configured later")
try:
    raise ValueError(os.environ["APEX_PANEL_TOKEN"])
except ValueError:
    logging.getLogger("apex_pipeline.x").exception("caught")
warnings.warn("a warning")
raise RuntimeError("the end")
"""


def lines(**variables: str) -> list[str]:
    """What a process that logs in many ways writes."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, "APEX_PANEL_TOKEN": "sentinel-of-this-test", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "sentinel-of-this-test" not in done.stderr
    return done.stderr.splitlines()


def test_every_line_is_one_object_with_the_same_keys_whoever_logs():
    found = [
        json.loads(line) for line in lines(APEX_LOG_FORMAT="json", APEX_TENANT="a")
    ]
    texts = [each["message"].split(":")[0] for each in found]
    assert texts[:3] == ["several\nlines with arguments", "configured later", "caught"]
    assert found[-1]["message"] == "the process ends with an error"
    assert "RuntimeError: the end" in found[-1]["exception"]
    assert "ValueError: ***" in found[2]["exception"]
    for each in found:
        assert each.keys() >= KEYS
        assert each["tenant"] == "a"
        assert each["time"].endswith("+00:00")
    assert [each["level"] for each in found[:3]] == ["warning", "warning", "error"]


def test_without_the_variable_the_lines_are_for_people_and_name_the_tenant():
    line = r"several\nlines with arguments"
    assert lines(APEX_LOG_FORMAT="")[0] == f"WARNING {line}"
    assert lines(APEX_LOG_FORMAT="text", APEX_TENANT="a")[0] == f"WARNING [a] {line}"


def test_every_record_of_text_is_one_line_with_its_traceback_indented_below():
    found = lines(APEX_LOG_FORMAT="text")
    records = [line for line in found if not line.startswith("    ")]
    assert records == [
        r"WARNING several\nlines with arguments",
        "configured later in colour",
        "ERROR caught",
        # Python's own, which names the place before.
        *(line for line in records if "UserWarning: a warning" in line),
        *(line for line in records if line.startswith("  warnings.warn")),
        "CRITICAL the process ends with an error",
    ]
    assert "    ValueError: ***" in found
    assert found[-1] == "    RuntimeError: the end"


class Forged(logging.StreamHandler[io.StringIO]):
    """Writes as a process does whose lines are for people."""

    def __init__(self, layout: logging.Formatter) -> None:
        super().__init__(io.StringIO())
        self.setFormatter(TextLines(layout))

    def written(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\x85", "\u2028", "\x0b", "\x1b[1A"]
)
def test_neither_a_name_nor_a_message_nor_an_error_makes_a_line(end):
    handler = Forged(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    forged = f"x{end}CRITICAL forged"
    logger = logging.getLogger(forged)
    logger.addHandler(handler)
    logger.warning("%s", forged, stack_info=True)
    logger.error("caught", exc_info=ValueError(forged))
    first, *others = handler.written()
    assert first.startswith("WARNING x")
    assert [line for line in others if not line.startswith("    ")] == [
        line for line in others if line.startswith("ERROR x")
    ]
    assert not any(line.startswith("CRITICAL") for line in others)
    assert all(character.isprintable() for line in others for character in line)


def test_colours_are_the_layouts_own():
    handler = Forged(logging.Formatter("\x1b[32m%(message)s\x1b[0m"))
    logger = logging.getLogger("apex_pipeline.coloured")
    logger.addHandler(handler)
    logger.warning("a\x1b[31mb")
    assert handler.written() == ["\x1b[32ma\\u001b[31mb\x1b[0m"]


def test_another_format_is_refused():
    with pytest.raises(ConfigError, match="APEX_LOG_FORMAT must be one of text, json"):
        is_json({"APEX_LOG_FORMAT": "yaml"})


def test_the_log_of_a_supervised_process_begins_with_a_line_of_the_same_kind():
    told = json.loads(
        started_line({"APEX_LOG_FORMAT": "json"}, "panel of acme", "acme")
    )
    assert told.keys() >= KEYS
    assert (told["message"], told["tenant"]) == ("started panel of acme", "acme")
    assert started_line({}, "panel", "").startswith("--- started ")


def test_the_emulator_writes_lines_of_the_same_kind(tmp_path):
    """It shares no code with the pipeline; what starts it gives it the log."""
    port = tmp_path / "port"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "apex_pipeline.dagster_program"),
            *("apex_pipeline.emulator", "--state-dir", str(tmp_path), "--port", "0"),
            *("--port-file", str(port)),
        ],
        env=os.environ | {"APEX_LOG_FORMAT": "json", "APEX_TENANT": "acme"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        wait_until(port.is_file, process)
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        with (
            socket.create_connection(("127.0.0.1", int(port.read_text()))) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(b"what?\r\n\r\n")
            while connection.recv(4096):
                pass
        process.terminate()
        _, lines = process.communicate(timeout=SECONDS)
    found = [json.loads(line) for line in lines.splitlines()]
    assert [(each["level"], each["tenant"]) for each in found] == [("warning", "acme")]
    assert "Invalid HTTP request" in found[0]["message"]


_OF_DAGSTER = """
import logging, logging.config, os, warnings
from apex_pipeline import log_lines
for _ in range(2):
    log_lines.install(os.environ, level=None)
logging.config.dictConfig({
    "version": 1, "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"dagster": {"handlers": ["h"], "level": "INFO"}},
})
logging.warning("of the root")
logging.getLogger("dagster.code_server").info("written below the root")
logging.getLogger("a.library").warning("of a library")
logging.getLogger("a.library").info("too much")
warnings.warn("a warning")
"""


def test_what_no_handler_of_dagster_writes_is_written_once_and_in_the_same_form():
    done = subprocess.run(
        [sys.executable, "-c", _OF_DAGSTER],
        env=os.environ | {"APEX_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert found[:3] == ["of the root", "written below the root", "of a library"]
    assert "UserWarning: a warning" in found[3]
    assert len(found) == 4


def test_each_answer_of_the_panel_has_an_id_of_its_own_that_no_client_chooses():
    with served({}) as url, httpx.Client(base_url=url) as client:
        chosen = {HEADER: "chosen by a client"}
        ids = [client.get("/healthz", headers=chosen).headers[HEADER] for _ in "12"]
    assert len({*ids}) == 2
    assert "chosen by a client" not in ids


class Written(logging.Handler):
    """Keeps what would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(JsonLines("").format(record)))


def test_a_line_that_is_written_while_a_request_is_answered_has_its_id():
    logger, written = logging.getLogger("apex_pipeline.x"), Written()

    def work(_: Request) -> PlainTextResponse:
        logger.warning("while answering")
        return PlainTextResponse("")

    async def ask() -> str:
        app = RequestIds(Starlette(routes=[Route("/", work)]))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport) as client:
            answer = await client.get("http://panel.example/")
        return answer.headers[HEADER]

    logger.addHandler(written)
    name = asyncio.run(ask())
    logger.removeHandler(written)
    assert [line["request_id"] for line in written.lines] == [name]


def test_a_line_of_a_run_has_its_id(monkeypatch):
    """Both Dagster's own lines and ours."""
    monkeypatch.setenv("APEX_LOG_FORMAT", "json")
    monkeypatch.setattr(JsonLines, "run_id", None)
    plain = of_dagster.colored_console_logger
    monkeypatch.setattr(of_dagster, "colored_console_logger", plain)
    write_runs(as_json=True)

    @dg.op
    def work(context: dg.OpExecutionContext) -> None:
        context.log.info("from the op")

    @dg.job
    def job() -> None:
        work()

    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    result = job.execute_in_process()
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert any("from the op" in each["message"] for each in found)
    assert {each["run_id"] for each in found} == {result.run_id}


def test_a_run_of_the_launchpad_forges_no_line(monkeypatch):
    """Who launches a run names its logger, and much of what an op says is of outside."""
    plain = of_dagster.colored_console_logger
    monkeypatch.setattr(of_dagster, "colored_console_logger", plain)
    write_runs(as_json=False)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    forged = "x\n2026-11-29 00:00:00 +0000 - dagster - INFO - forged"

    @dg.op
    def work(context: dg.OpExecutionContext) -> None:
        context.log.info(forged)
        raise ValueError(forged)

    @dg.job
    def job() -> None:
        work()

    job.execute_in_process(
        run_config={"loggers": {"console": {"config": {"name": forged}}}},
        raise_on_error=False,
    )
    found = stream.getvalue().splitlines()
    records = [line for line in found if not line.startswith("    ")]
    assert all(r"dagster - INFO - forged - " in line for line in records)
    assert not any(line.startswith("2026-11-29 00:00:00") for line in records)
    assert any("STEP_FAILURE" in line for line in records)
    assert any(line.endswith("ValueError: x") for line in found)
