"""The commands of `apex`: where each one is, and what it does in a few words.

The command line, the report and Dagster read them here, so that none of them has to load
another.
"""

from collections.abc import Mapping

COMMANDS: Mapping[str, tuple[str, str]] = {
    "alerts": ("apex_pipeline.cli.alerts:alerts", "See, silence and try alerts."),
    "doctor": ("apex_pipeline.cli.doctor:doctor", "Check everything, live."),
    "emulator": ("apex_pipeline.emulator.__main__:main", "Serve a Dataverse Web API."),
    "export": ("apex_pipeline.cli.export:export", "Write CSV, of any range."),
    "panel": ("apex_pipeline.cli.panel:panel", "Serve the KPI panel and its API."),
    "powerbi": ("apex_pipeline.cli.powerbi:powerbi", "Build or check the dashboard."),
    "provision": ("apex_pipeline.cli.provision:provision", "Make tables as needed."),
    "quarantine": (
        "apex_pipeline.cli.quarantine:quarantine",
        "See refused rows; release or drop them.",
    ),
    "record": ("apex_pipeline.cli.record:record", "Write metrics of campaign runs."),
    "reconcile": (
        "apex_pipeline.cli.reconcile:reconcile",
        "Compare all rows with their records.",
    ),
    "report": ("apex_pipeline.cli.report:report", "Write the completion report."),
    "status": ("apex_pipeline.cli.status:status", "Show whether the sync keeps up."),
    "sync": ("apex_pipeline.cli.sync:sync", "Deliver pending rows now."),
    "webserver": (
        "apex_pipeline.cli.webserver:webserver",
        "Serve the Dagster UI behind a gate.",
    ),
    "up": ("apex_pipeline.cli.up:up", "Run everything on this machine."),
}
"""Name to `module:attribute`, and to the text that `apex --help` shows."""

SUMMARIES = {name: text for name, (_, text) in COMMANDS.items()}
"""What each command does, in a few words."""
