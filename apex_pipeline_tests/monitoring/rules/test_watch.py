"""What counts as wrong: the rules, on plain values."""

import re
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, strategies as st

from apex_pipeline.errors import ConfigError, SystemicRejectionError
from apex_pipeline.metrics import TABLE, Rejection
from apex_pipeline.microsoft.credential_expiry import CredentialEnd
from apex_pipeline.monitoring.alerts.notice import Observation, Severity, is_within
from apex_pipeline.monitoring.alerts.outbox import STUCK_AFTER as STUCK, Backlog
from apex_pipeline.monitoring.facts import Facts
from apex_pipeline.monitoring.rules import (
    disk_space,
    health_watch,
    periodic_probes,
    run_outcomes,
    schedules_and_sensors,
    sync_health,
)
from apex_pipeline.monitoring.rules.catalogue import RULES, SYNC_JOB
from apex_pipeline.monitoring.rules.run_outcomes import (
    OVERLAP,
    Cursor,
    RunEnd,
    advance,
    unseen,
)
from apex_pipeline.monitoring.rules.schedules_and_sensors import Instigator, Tick
from apex_pipeline.monitoring.rules.silences import LONGEST, check_scope, read_end
from apex_pipeline.monitoring.rules.sync_health import SyncHealth
from apex_pipeline.postgres.comparison_progress import RollupLap
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.pending_rows import PendingSummary
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus, Totals
from apex_pipeline.settings import Settings
from apex_pipeline.sync.systemic_faults import Breaker
from apex_pipeline_tests.support.emulator_server import web_api
from apex_pipeline_tests.support.ends import (
    campaign_row,
    emulator_settings,
    environment,
    insert,
)
from apex_pipeline_tests.support.rule_findings import World
from apex_pipeline_tests.support.waiting import SECONDS

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
RUNBOOK = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text()


def ago(**duration: float) -> datetime:
    return NOW - timedelta(**duration)


def run(status: RunStatus = RunStatus.SUCCESS, **overrides) -> RunRecord:
    values: dict[str, Any] = {"finished_at": ago(minutes=1), "remaining": 0}
    return RunRecord(status=status, **(values | overrides))


def health(pending: int = 0, oldest: datetime | None = None, **overrides) -> SyncHealth:
    values: dict[str, Any] = {"runs": [], "bytes_used": 1, "bytes_limit": None}
    values |= overrides
    facts = Facts(
        as_of=NOW,
        pending=PendingSummary(pending, oldest),
        quarantined={},
        dropped=0,
        runs=values.pop("runs"),
        day=Totals(0, 0, 0.0, 0, 0),
    )
    return SyncHealth(facts, **values)


def wrong(seen: SyncHealth, empty_at: datetime) -> set[str]:
    known = sync_health.last_empty(seen, empty_at, NOW)
    return {
        finding.fingerprint
        for observation in sync_health.observe(seen, known, NOW)
        for finding in observation.findings
    }


def test_rows_are_overdue_after_ten_minutes():
    long_ago = ago(days=1)
    assert wrong(health(1, ago(minutes=10)), long_ago) == set()
    assert wrong(health(1, ago(minutes=10, seconds=1)), long_ago) == {"rows-overdue"}


def test_rows_that_come_late_with_an_old_time_have_not_waited_since():
    late = health(9, ago(days=90))
    assert wrong(late, ago(minutes=2)) == set()
    emptied = health(9, ago(days=90), runs=[run(finished_at=ago(minutes=9))])
    assert wrong(emptied, ago(days=1)) == set()
    left = health(9, ago(days=90), runs=[run(finished_at=ago(minutes=9), remaining=4)])
    assert wrong(left, ago(days=1)) == {"rows-overdue"}


def test_no_success_in_a_quarter_of_an_hour_counts_only_while_rows_are_pending():
    failed = run(RunStatus.FAILURE, remaining=5, error="no")
    succeeded = run(finished_at=ago(minutes=16), remaining=3)
    runs = [failed, succeeded]
    assert wrong(health(0, runs=runs), ago(days=1)) == set()
    old = health(3, ago(minutes=16), runs=runs)
    assert wrong(old, ago(days=1)) == {"rows-overdue", "no-success"}
    recent = [failed, run(finished_at=ago(minutes=14), remaining=3)]
    assert "no-success" not in wrong(
        health(3, ago(minutes=16), runs=recent), ago(days=1)
    )
    # Nothing was pending for hours, so nothing had to succeed.
    assert wrong(health(3, ago(minutes=1), runs=runs), ago(minutes=1)) == set()


def test_what_waits_says_what_the_last_run_said():
    seen = health(1, ago(hours=1), runs=[run(RunStatus.FAILURE, error="it is locked")])
    observations = sync_health.observe(seen, ago(days=1), NOW)
    causes = [f.cause for o in observations for f in o.findings]
    assert causes == ["The last run failed: it is locked"] * 2


def test_it_is_throttled_when_more_than_a_tenth_of_the_time_is_spent_waiting():
    at_work = health(runs=[run(throttled_seconds=90.0)] * 2)
    assert wrong(at_work, NOW) == set()
    waiting = health(runs=[run(throttled_seconds=91.0), run(throttled_seconds=90.0)])
    assert wrong(waiting, NOW) == {"throttled"}
    # The next runs wait too, though they are not even started.
    asked = run(finished_at=ago(minutes=5), retry_at=NOW + timedelta(minutes=5))
    assert wrong(health(runs=[asked]), NOW) == {"throttled"}
    over = run(throttled_seconds=900.0, finished_at=ago(minutes=31))
    assert wrong(health(runs=[over]), NOW) == set()


def test_a_database_is_nearly_full_at_nine_tenths_of_what_it_may_grow_to():
    assert wrong(health(bytes_used=89, bytes_limit=100), NOW) == set()
    full = wrong(health(bytes_used=90, bytes_limit=100), NOW)
    assert full == {"storage-full/database"}


def test_failed_syncs_are_made_good_when_nothing_is_pending():
    scopes = [o.scope for o in sync_health.observe(health(), NOW, NOW)]
    assert f"run-failed/{SYNC_JOB}" in scopes
    pending = health(1, ago(minutes=1))
    scopes = [o.scope for o in sync_health.observe(pending, NOW, NOW)]
    assert f"run-failed/{SYNC_JOB}" not in scopes


def test_the_database_tells_what_waits_and_what_is_aside(database_url, store):
    insert(database_url, [campaign_row()])
    with Database(database_url, application_name="test") as database:
        seen = sync_health.read_health(database, NOW)
    assert (seen.facts.pending.count, seen.facts.quarantined) == (1, {})
    assert seen.bytes_used > 1_000_000
    assert seen.bytes_limit is None


def end(*, succeeded: bool = True, **overrides) -> RunEnd:
    values: dict[str, Any] = {"job": SYNC_JOB, "began_at": ago(minutes=1)}
    return RunEnd(succeeded=succeeded, **(values | overrides))


def test_a_run_that_failed_for_the_database_is_told_as_that():
    failed = end(succeeded=False, cause="gone", cause_kind="DatabaseUnavailableError")
    world = World()
    world.now = NOW
    assert [kind for _, kind in world.see(*run_outcomes.observe_run(failed))] == [
        "opened"
    ]
    assert world.notices[0].title == "The metrics database cannot be used"


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("TransientError", "Service health"),
        ("InterceptedError", "answered instead of the service"),
        ("SchemaDriftError", "apex provision dataverse"),
        ("ConfigError", "Follow the message"),
        ("", "Follow the message"),
        # Its text is not told, so there is nothing in the message to do.
        ("ZeroDivisionError", "Open the run in the Dagster UI"),
    ],
)
def test_a_failed_run_says_what_to_do_about_its_kind_of_error(kind, remedy):
    failed = end(succeeded=False, cause="no", cause_kind=kind)
    ((finding,),) = (o.findings for o in run_outcomes.observe_run(failed) if o.findings)
    assert remedy in finding.remedy


def test_a_check_that_a_command_can_mend_names_it():
    observed = run_outcomes.observe_check(
        "dataverse_reconciliation",
        "no_record_missing",
        passed=False,
        is_warning=False,
        count=1234,
    )
    ((finding,),) = (o.findings for o in observed)
    assert "`apex reconcile --repair`" in finding.remedy
    assert finding.facts == (("Found", "1,234"),)


def test_what_dataverse_says_of_a_row_is_not_told():
    breaker = Breaker()
    suspects = [
        Rejection(str(n), "0x80040265", "no 'Secret Co' here") for n in range(20)
    ]
    breaker.judge(20, suspects)
    with pytest.raises(SystemicRejectionError, match="Secret Co") as caught:
        breaker.close()
    told = run_outcomes.without_rows(str(caught.value))
    assert "20 of 20 rows" in told
    assert "0x80040265" in told
    assert "Secret" not in told
    failed = run(RunStatus.FAILURE, error=str(caught.value))
    observed = sync_health.observe(
        health(1, ago(hours=1), runs=[failed]), ago(days=1), NOW
    )
    causes = [finding.cause for each in observed for finding in each.findings]
    assert len(causes) == 2
    assert not any("Secret" in cause for cause in causes)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [("AuthError", "token-refused"), ("SchemaDriftError", "table-drifted")],
)
def test_whoever_sees_it_first_a_fault_is_told_once(kind, rule):
    failed = [*run_outcomes.observe_run(end(succeeded=False, cause_kind=kind))]
    probe = [Observation(rule, (RULES[rule].finding("it is so"),))]
    for first, second in ((failed, probe), (probe, failed)):
        world = World()
        world.now = NOW
        world.see(*first)
        world.see(*second)
        assert len(world.notices) == 1


def test_a_run_that_makes_all_of_what_failed_elsewhere_makes_it_good():
    world = World()
    world.now = NOW
    names = [f"asset_{n}" for n in range(5)]
    failed = [end(succeeded=False, job=name) for n, name in enumerate(names)]
    other = end(job="asset_9", makes_good=frozenset({"asset_9"}))
    for each in (*failed, other):
        world.see(*run_outcomes.observe_run(each))
    assert [notice.kind for notice in world.notices] == ["opened"] * 5
    world.see(
        *run_outcomes.observe_run(end(job="all", makes_good=frozenset(names[:3])))
    )
    resolved = [each.title for each in world.notices if each.kind == "resolved"]
    assert resolved == [f"A run of {name} failed" for name in names[:3]]


def test_a_run_of_many_assets_has_a_short_title():
    failed = end(succeeded=False, job="a, b, c, d, e")
    ((finding,),) = (o.findings for o in run_outcomes.observe_run(failed) if o.findings)
    assert finding.title == "A run of a, b, c and 2 more failed"
    assert finding.fingerprint == "run-failed/a, b, c, d, e"


def test_a_run_that_was_started_wrongly_concerns_nobody_else():
    refused = end(succeeded=False, cause_kind=run_outcomes.REFUSED)
    assert not [o for o in run_outcomes.observe_run(refused) if o.findings]


def test_runs_that_do_not_start_are_told_if_it_lasts():
    world = World()
    world.now = NOW
    stuck = end(succeeded=False, has_started=False, cause="START_TIMEOUT")
    world.see(*run_outcomes.observe_run(stuck))
    world.now += timedelta(minutes=5)
    world.see()
    assert world.notices == []
    world.now += timedelta(minutes=2)
    world.see()
    assert [each.title for each in world.notices] == ["Runs do not start"]
    world.see(*run_outcomes.observe_run(end(succeeded=False, cause="no")))
    assert [each.kind for each in world.notices][1:] == ["resolved", "opened"]


@given(st.data())
def test_each_event_is_handled_once_however_late_it_becomes_visible(data):
    """Visible within the overlap, in any order; looked for at any times."""
    count = data.draw(st.integers(1, 12))
    at = [NOW + timedelta(seconds=20 * n) for n in range(count)]
    lag = st.integers(0, int(OVERLAP.total_seconds()) - 1)
    visible = [when + timedelta(seconds=data.draw(lag)) for when in at]
    cursor: Cursor | None = None
    taken: list[int] = []
    now = NOW
    while now < at[-1] + 3 * OVERLAP:
        now += timedelta(seconds=data.draw(st.integers(1, 50)))
        after = cursor.after if cursor else 0
        seen = [
            (n + 1, at[n]) for n in range(count) if visible[n] <= now and n + 1 > after
        ]
        taken += unseen(cursor, [number for number, _ in seen])
        cursor = advance(cursor, seen, now)
    assert sorted(taken) == list(range(1, count + 1))
    assert cursor == Cursor(count)


def instigator(
    *errors: str | None,
    name: str = "sync_on_arrival",
    is_schedule: bool = False,
    is_stopped: bool = False,
) -> Instigator:
    return Instigator(
        name=name,
        is_schedule=is_schedule,
        is_stopped=is_stopped,
        ticks=[Tick(ago(minutes=n), error) for n, error in enumerate(errors)],
    )


def found_at(each: Instigator, since: datetime = NOW) -> list[str]:
    observations = schedules_and_sensors.observe([each], since, NOW)
    return [f.fingerprint for o in observations for f in o.findings]


def test_one_failed_tick_of_a_schedule_counts_and_two_of_a_sensor():
    name = "sync_every_five_minutes"
    failed = instigator("no", name=name, is_schedule=True)
    assert found_at(failed) == [f"ticks-failing/{name}"]
    assert found_at(instigator(None, "no", name=name, is_schedule=True)) == []
    assert found_at(instigator("no", None)) == []
    assert found_at(instigator("no")) == []
    assert found_at(instigator("no", "no")) == ["ticks-failing/sync_on_arrival"]


@pytest.mark.parametrize("is_schedule", [False, True])
def test_ticks_that_a_restart_of_the_code_server_cuts_off_change_no_incident(
    is_schedule,
):
    def observed(*ticks: Tick) -> list[Observation]:
        each = Instigator(
            name="any", is_schedule=is_schedule, is_stopped=False, ticks=ticks
        )
        seen = schedules_and_sensors.observe([each], NOW, NOW)
        return [found for found in seen if found.scope.startswith("ticks-failing")]

    cut_off = [Tick(NOW, "gone", unreached=n) for n in (2, 1)]
    assert observed(*cut_off) == []
    assert observed(Tick(NOW, "gone", unreached=1), Tick(NOW, "no")) == []
    (over,) = observed(Tick(NOW, None), *cut_off)
    assert over.findings == ()
    # No restart takes so long.
    (lasting,) = observed(*[Tick(NOW, "gone", unreached=n) for n in (6, 5)])
    assert [found.cause for found in lasting.findings] == ["gone"]


def test_what_is_switched_off_is_told_and_nothing_else_of_it():
    off = instigator("no", "no", is_stopped=True)
    assert found_at(off, ago(days=1)) == ["schedule-stopped/sync_on_arrival"]


def test_a_sync_schedule_that_stands_still_is_told_but_not_what_stood_before_us():
    name = "sync_every_five_minutes"
    still = Instigator(
        name=name,
        is_schedule=True,
        is_stopped=False,
        ticks=[Tick(ago(minutes=12), None)],
    )
    assert found_at(still, ago(hours=1)) == [f"schedule-late/{name}"]
    assert found_at(still, ago(minutes=5)) == []


@pytest.mark.parametrize(
    ("days", "stage", "severity"),
    [
        (31, None, None),
        (30, "30", Severity.WARNING),
        (15, "30", Severity.WARNING),
        (14, "14", Severity.WARNING),
        (7, "7", Severity.WARNING),
        (2, "7", Severity.WARNING),
        (1, "1", Severity.ERROR),
        (0, "1", Severity.ERROR),
        (-1, "over", Severity.ERROR),
    ],
)
def test_the_end_of_a_credential_is_told_as_it_comes_nearer(days, stage, severity):
    last = date(2027, 1, 31)
    today = last - timedelta(days=days)
    seen = periodic_probes.observe_end(CredentialEnd(last, "somebody"), today)
    assert seen is not None
    if stage is None:
        assert seen == Observation("credential-ends")
        return
    (finding,) = seen.findings
    assert (finding.cause_key, finding.severity) == (stage, severity)
    assert "2027-01-31" in finding.cause


def test_an_end_that_nobody_knows_is_neither_near_nor_far():
    assert (
        periodic_probes.observe_end(CredentialEnd(None, "nobody"), date(2027, 1, 1))
        is None
    )


def test_probes_take_turns_and_those_that_saw_nothing_leave_things_as_they_were():
    looked: list[str] = []

    def probe(name: str, *answers: Observation | None) -> periodic_probes.Probe:
        left = list(answers)

        def look() -> Observation | None:
            looked.append(name)
            return left.pop(0) if left else None

        return periodic_probes.Probe(
            name, look, timedelta(hours=1), timedelta(minutes=1)
        )

    bad = Observation("b", (RULES["throttled"].finding("so"),))
    both = [probe("a", Observation("a")), probe("b", bad)]
    seen, state = periodic_probes.look_at_one(both, {}, NOW)
    seen, state = periodic_probes.look_at_one(both, state, NOW)
    assert seen == [bad]
    assert periodic_probes.look_at_one(both, state, NOW) == ([], state)
    # What is wrong is looked at again soon; not seeing it does not make it well.
    seen, state = periodic_probes.look_at_one(both, state, NOW + timedelta(minutes=1))
    assert seen == []
    assert state["b"]["wrong"] is True
    assert looked == ["a", "b", "b"]


def test_a_probe_that_is_never_done_holds_nothing_up():
    is_over = threading.Event()

    def hang() -> None:
        is_over.wait(SECONDS)
        raise AssertionError

    probe = periodic_probes.Probe("a", hang, timedelta(hours=1), timedelta(minutes=1))
    seen, state = periodic_probes.look_at_one([probe], {}, NOW, seconds=0.1)
    is_over.set()
    assert (seen, state["a"]["wrong"]) == ([], False)


@pytest.fixture
def surveyed(emulator, database_url, tmp_path):
    def look(name: str, variables=(), **overrides) -> Observation | None:
        settings = Settings(
            database_url, emulator_settings(emulator, **overrides), tmp_path
        )
        probes = periodic_probes.probes(settings, dict(variables), NOW.date())
        return {p.name: p for p in probes}[name].look()

    return look


def test_a_secret_that_is_refused_is_found_before_a_run_fails(surveyed):
    assert surveyed("token") == Observation("token-refused")
    seen = surveyed("token", client_id="99999999-0000-4000-8000-000000000000")
    assert "No token" in seen.findings[0].cause


def test_a_credential_whose_end_cannot_be_read_is_told_and_stops_no_watch(
    surveyed, tmp_path
):
    (tmp_path / "apex.pem").write_text("nothing")
    seen = surveyed(
        "credential", client_secret=None, certificate_path=tmp_path / "apex.pem"
    )
    assert "apex.pem, which contains no certificate" in seen.findings[0].cause
    noted = {"APEX_CLIENT_SECRET_EXPIRES_ON": "soon"}
    seen = surveyed("credential", noted)
    assert "must be a date like" in seen.findings[0].cause
    assert "cannot be read" in seen.findings[0].title
    assert seen.scope == "credential-ends"


def test_an_authority_that_does_not_answer_says_nothing_of_the_secret(
    surveyed, emulator
):
    emulator.fault("status", status=503, count=9, path="oauth2")
    emulator.fault("status", status=503, count=9, path="openid")
    assert surveyed("token", client_id="other") is None


def test_a_column_that_is_gone_is_found_before_a_run_fails(surveyed, emulator):
    assert surveyed("table") == Observation("table-drifted")
    with web_api(emulator) as api:
        path = f"EntityDefinitions(LogicalName='{TABLE}')/Attributes"
        api.delete(f"{path}(LogicalName='apex_phase')").raise_for_status()
    (finding,) = surveyed("table").findings
    assert finding.cause == "missing: apex_phase"
    emulator.fault("status", status=503, count=99, path="EntityDefinitions")
    assert surveyed("table") is None


def test_a_database_that_hangs_is_told_of_in_time(emulator, database_url, tmp_path):
    around = health_watch.WatchSurroundings([], [], ["teams"])
    variables = environment(emulator, database_url, tmp_path)
    with psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE campaign_metrics")
        seen, _ = health_watch.look(variables, around, {}, NOW, seconds=0.5)
    found = [f for each in seen for f in each.findings]
    (hangs,) = [f for f in found if f.fingerprint == "database-unusable"]
    assert "has not answered within 0.5 s" in hangs.cause


def test_rows_are_not_late_because_nobody_looked(emulator, database_url, tmp_path):
    """What stops the watch stops the sync too, and has its own incident."""
    insert(database_url, [campaign_row(created_at=ago(minutes=30))])
    around = health_watch.WatchSurroundings([], [], ["teams"])
    variables = environment(emulator, database_url, tmp_path)

    def late(state: dict[str, Any], now: datetime) -> tuple[bool, dict[str, Any]]:
        seen, state = health_watch.look(variables, around, state, now)
        found = [f for each in seen for f in each.findings]
        return "rows-overdue" in {f.fingerprint for f in found}, state

    state: dict[str, Any] = {"empty_at": ago(minutes=25).isoformat()}
    is_late, state = late(state, ago(minutes=20))
    assert not is_late
    is_late, again = late(state, ago(minutes=17))
    assert not is_late
    assert late(again, ago(minutes=14))[0]
    is_late, state = late(state, NOW)
    assert not is_late
    is_late, state = late(state, NOW + timedelta(minutes=2))
    assert not is_late


def test_room_on_the_disk_is_told_of(tmp_path):
    full = disk_space.observe({"state folder": tmp_path}, min_free_bytes=2**62)
    (finding,) = next(full).findings
    assert finding.severity is Severity.ERROR
    assert finding.remedy


def test_a_channel_that_takes_nothing_is_found_by_how_long_something_waits():
    def seen(backlog: Backlog, channels=("teams",)) -> bool:
        around = health_watch.WatchSurroundings([], [backlog], channels)
        return bool(health_watch._not_getting_through(around, NOW).findings)  # noqa: SLF001

    waiting = Backlog("teams", 1, 0, NOW - STUCK, is_serious=False, error="no")
    assert not seen(waiting)
    older = Backlog("teams", 1, 0, NOW - 2 * STUCK, is_serious=False, error="no")
    assert seen(older)
    assert not seen(older, channels=())
    assert seen(Backlog("teams", 0, 2, None, is_serious=False, error="no"))


def test_a_silence_needs_an_end_that_is_near_enough():
    assert read_end("2026-11-25T14:00", None, NOW) == NOW + timedelta(hours=2)
    assert read_end("2026-11-25T14:00+02:00", None, ago(hours=1)) == NOW
    assert read_end(None, "90min", NOW) == NOW + timedelta(minutes=90)
    assert read_end(None, "2d", NOW) == NOW + timedelta(days=2)
    for until, duration in (
        (None, None),
        ("2026-11-26", "1h"),
        ("2026-11-25", None),
        ("tomorrow", None),
        (None, "for ever"),
        (None, f"{LONGEST.days + 1}d"),
        (None, "0h"),
        (None, "999999w"),
        ("9999-12-31T23:59-14:00", None),
        ("0001-01-01T00:00+14:00", None),
    ):
        with pytest.raises(ConfigError):
            read_end(until, duration, NOW)


def test_a_silence_names_something_that_can_be_wrong():
    check_scope("run-failed", [])
    check_scope("run-failed/any_job", [])
    with pytest.raises(ConfigError, match="throttled"):
        check_scope("run", ["throttled"])


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_every_alert_says_what_to_do_and_the_runbook_has_it(rule):
    assert rule.remedy
    title = rule.title.format("…")
    (row,) = [line for line in RUNBOOK.splitlines() if line.startswith(f"| {title} |")]
    cells = row.strip("| ").split(" | ")
    assert len(cells) == 3
    assert all(cells)


def test_nothing_inhibits_what_no_rule_finds():
    named = {scope for rule in RULES.values() for scope in rule.inhibits}
    assert {scope.partition("/")[0] for scope in named} <= set(RULES)
    assert all(re.fullmatch(r"[a-z-]+", name) for name in RULES)
    assert not is_within("run-failed", "run")


@pytest.mark.parametrize(
    ("progress", "is_slow"),
    [
        (None, False),
        (RollupLap(ago(hours=30), None, 6 * 3600.0), False),
        (RollupLap(ago(hours=30), None, 25 * 3600.0), True),
        (RollupLap(ago(hours=23), NOW.date(), None), False),
        (RollupLap(ago(hours=25), NOW.date(), 6 * 3600.0), True),
        (RollupLap(ago(hours=1), NOW.date(), 25 * 3600.0), True),
    ],
)
def test_a_comparison_that_takes_longer_than_was_promised_is_told(progress, is_slow):
    found = list(sync_health.observe(health(compared=progress), NOW, NOW))
    (seen,) = [each for each in found if each.scope == "comparison-slow"]
    assert bool(seen.findings) == is_slow
