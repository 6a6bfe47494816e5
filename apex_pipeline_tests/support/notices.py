"""Notices, their sender and their recipients."""

import dataclasses
from datetime import UTC, datetime

from apex_pipeline.monitoring.alerts.notice import Notice, NoticeKind, Severity
from apex_pipeline.monitoring.alerts.teams import card

AT = datetime(2026, 11, 25, 10, 30, 0, tzinfo=UTC)
TO = ("ops@example.com", "data@example.com")
SENDER = "apex@example.com"


NOTICE = Notice(
    key="sync-failed/1",
    kind=NoticeKind.OPENED,
    severity=Severity.ERROR,
    title="The sync fails",
    cause="Postgres at db.example.com does not answer",
    remedy="Start it; the next tick tries again.",
    facts=(("Job", "sync_campaign_metrics"), ("Since", "10:25")),
    link="https://dagster.example/runs/5f3c",
    at=AT,
)


def notice(**changes):
    return dataclasses.replace(NOTICE, **changes)


def runs(told):
    """Every text of a card, in its order."""
    found = []

    def walk(node):
        if isinstance(node, list):
            for each in node:
                walk(each)
        elif isinstance(node, dict):
            if node.get("type") in {"TextRun", "TextBlock"}:
                found.append(node["text"])
            for each in node.values():
                walk(each)

    walk(card(told))
    return found
