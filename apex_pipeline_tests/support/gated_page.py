"""A page behind the gate."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apex_pipeline.defs.operations.dagster_ui import behind_the_gate, dagster_ui
from apex_pipeline.settings import PanelSettings
from apex_pipeline.web_gate.serving import listen, make_server
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

OWN = "known-to-this-machine-only"


@contextmanager
def served(
    home: Path, token: str | None, ended_sessions: Path | None = None
) -> Iterator[str]:
    """The URL of a Dagster UI behind the gate."""
    settings = PanelSettings(port=0, token=token)
    listener = listen(settings)
    (home / "dagster.yaml").touch()
    (home / "workspace.yaml").write_text("load_from: []\n")
    with (
        pytest.MonkeyPatch.context() as patch,
        listener,
    ):
        patch.setenv("DAGSTER_HOME", str(home))
        with dagster_ui([home / "workspace.yaml"], read_only=False) as ui:
            app = behind_the_gate(
                ui, settings, own_secret=OWN, ended_sessions=ended_sessions
            )
            server = make_server(app, ws="websockets-sansio")
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                wait_until(lambda: server.started)
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join(SECONDS)
