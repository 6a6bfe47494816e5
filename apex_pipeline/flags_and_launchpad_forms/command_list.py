"""The commands of `apex`: where each one is, and what it does in a few words.

The command line, the report and Dagster read them here, so none of them has to load
another.
"""

from collections.abc import Mapping

COMMANDS: Mapping[str, tuple[str, str]] = {
    "alerts": ("apex_pipeline.cli.alerts:alerts", "List, silence and test alerts."),
    "audit": (
        "apex_pipeline.cli.audit:audit",
        "Show who did what, and verify that nothing was changed.",
    ),
    "doctor": ("apex_pipeline.cli.doctor:doctor", "Check everything the sync needs."),
    "emulator": (
        "apex_pipeline.emulator.__main__:main",
        "Emulate the Dataverse Web API.",
    ),
    "export": ("apex_pipeline.cli.export:export", "Export any date range as CSV."),
    "panel": ("apex_pipeline.cli.panel:panel", "Serve the KPI panel and its API."),
    "powerbi": ("apex_pipeline.cli.powerbi:powerbi", "Build or check the dashboard."),
    "provision": (
        "apex_pipeline.cli.provision:provision",
        "Create what both ends need.",
    ),
    "quarantine": (
        "apex_pipeline.cli.quarantine:quarantine",
        "List, release or drop quarantined rows.",
    ),
    "record": ("apex_pipeline.cli.record:record", "Record metrics of campaign runs."),
    "reconcile": (
        "apex_pipeline.cli.reconcile:reconcile",
        "Compare rows with their records.",
    ),
    "report": ("apex_pipeline.cli.report:report", "Write the completion report."),
    "status": ("apex_pipeline.cli.status:status", "Show whether the sync keeps up."),
    "sync": ("apex_pipeline.cli.sync:sync", "Deliver pending rows now."),
    "webserver": (
        "apex_pipeline.cli.webserver:webserver",
        "Serve the Dagster UI, access-controlled.",
    ),
    "tenants": ("apex_pipeline.cli.tenants:tenants", "List and check all tenants."),
    "up": ("apex_pipeline.cli.up:up", "Run everything on this machine."),
}
"""Name to `module:attribute`, and to the text that `apex --help` shows."""

SUMMARIES = {name: text for name, (_, text) in COMMANDS.items()}
"""What each command does, in a few words."""
