"""Checks by Microsoft's own tools, which npm fetches: the report, and the syntax of M."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from apex_pipeline.errors import ConfigError

_VALIDATOR = "@microsoft/powerbi-report-authoring-cli@0.1.4"
_PARSER = "@microsoft/powerquery-parser@0.18.4"
# The validator fetches schemas from the network; `schema_checks` has them at hand.
_UNREACHABLE = "PBIR_SCHEMA_UNREACHABLE"
_TIME_LIMIT = 180

_PARSE = """
const {DefaultSettings, TaskUtils} = require("@microsoft/powerquery-parser");
const queries = JSON.parse(require("fs").readFileSync(0, "utf8"));
(async () => {
  const found = {};
  for (const [name, text] of Object.entries(queries)) {
    const task = await TaskUtils.tryLexParse(DefaultSettings, text);
    if (!TaskUtils.isParseStageOk(task)) found[name] = String(task.error.message);
  }
  console.log(JSON.stringify(found));
})();
"""


@contextmanager
def npm_tools() -> Iterator[Path]:
    """Install the tools into a folder of their own, for as long as they are needed.

    Yields:
        The folder.

    Raises:
        ConfigError: There is no npm, or it cannot fetch them.
    """
    if shutil.which("npm") is None:
        raise ConfigError("npm is not installed; it comes with Node 20 or later.")
    with TemporaryDirectory(prefix="apex-powerbi-") as name:
        folder = Path(name)
        run = _run(
            ["npm", "install", "--prefix", name, "--no-audit", _VALIDATOR, _PARSER],
            folder,
        )
        if run.returncode:
            raise ConfigError(f"npm cannot install the tools: {run.stderr[-500:]}")
        yield folder


def validator_problems(tools: Path, report: Path) -> Iterator[str]:
    """What Microsoft's report validator says, errors and warnings alike."""
    command = str(tools / "node_modules" / ".bin" / "powerbi-report-author")
    run = _run([command, "validate", str(report.resolve())], tools)
    try:
        found = json.loads(run.stdout)["data"]["diagnostics"]
    except (ValueError, KeyError, TypeError):
        yield f"{_VALIDATOR} gave no result: {(run.stderr or run.stdout)[-500:]}"
        return
    for code, diagnostic in found.items():
        if code != _UNREACHABLE:
            yield from (f"{code}: {item['message']}" for item in diagnostic["items"])


def m_problems(tools: Path, queries: Mapping[str, str]) -> Iterator[str]:
    """Queries that Microsoft's parser of Power Query does not take.

    Args:
        tools: The folder of the tools.
        queries: Name to M.
    """
    run = _run(["node", "-e", _PARSE], tools, json.dumps(queries, allow_nan=False))
    if run.returncode:
        yield f"{_PARSER} gave no result: {run.stderr[-500:]}"
        return
    for name, message in json.loads(run.stdout).items():
        yield f"{name}: {message}"


def _run(
    command: list[str], folder: Path, text: str = ""
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603  fixed commands
            command,
            cwd=folder,
            input=text,
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"{command[0]} took longer than {_TIME_LIMIT} s. Try again later."
        ) from None
