"""Anchors, time stamps, the daily work, retention, and the evidence pack."""

import csv
import json
import subprocess
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

import psycopg
import pytest

from apex_pipeline.audit import retention, trail
from apex_pipeline.audit.anchors import KeptAnchor, TimeStamp, read_anchors
from apex_pipeline.audit.evidence import write_pack
from apex_pipeline.audit.time_stamps import Authority
from apex_pipeline.audit.trail import Head, newest, parse_head
from apex_pipeline.audit.verification import last_verification, verify
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.flags_and_launchpad_forms.audit_forms import AuditListForm
from apex_pipeline.microsoft.http_transport import token_http
from apex_pipeline.settings import load_audit_settings
from apex_pipeline_tests.support.aged_trail import AUTHOR, age, append, daily, database
from apex_pipeline_tests.support.time_stamp_authority import TimeStampAuthority

__all__ = ["database"]
YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return TimeStampAuthority(tmp_path_factory.mktemp("tsa"))


def test_the_daily_work_verifies_then_anchors_the_head_and_tells_it(database):
    append(database, 3)
    told = []

    def tell(head):
        told.append(head)
        return ["teams"]

    done = daily(database, tell=tell)
    head = database.transact(trail.head)
    assert done.verification.is_unbroken
    assert told == [done.anchored]
    event = database.transact(lambda c: trail.one(c, head.sequence))
    assert event["action"] == "anchor"
    assert event["subject"] == {
        "sequence": done.anchored.sequence,
        "hash": done.anchored.hash,
        "channels": ["teams"],
    }
    assert database.transact(verify).problems == ()
    assert database.transact(last_verification).is_unbroken


def test_a_broken_trail_is_not_anchored(database, database_url):
    append(database, 3)
    with psycopg.connect(database_url) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE audit_event SET actor = 'x' WHERE sequence = 2")
    told = []

    def tell(head):
        told.append(head)
        return []

    done = daily(database, tell=tell)
    assert done.anchored is None
    assert told == []
    assert database.transact(read_anchors) == []
    assert not database.transact(last_verification).is_unbroken


def test_a_time_stamp_is_asked_for_kept_and_checked_offline(database, authority):
    append(database)
    known = Authority.read(authority.certificates)
    with authority.served() as url, token_http(None) as http:
        done = daily(
            database,
            stamp=lambda head: known.stamp(http, url, head),
            check_stamp=known.check,
        )
    assert done.is_stamped
    assert done.failure is None
    (anchor,) = database.transact(read_anchors)
    assert anchor.time_stamp.authority == url
    assert known.check(anchor) is None
    found = database.transact(lambda c: verify(c, check_stamp=known.check))
    assert found.problems == ()


def test_a_time_stamp_of_another_head_or_authority_is_found(authority, tmp_path):
    known = Authority.read(authority.certificates)
    head, other = Head(7, "ab" * 32), Head(7, "ac" * 32)
    with authority.served() as url, token_http(None) as http:
        stamp = known.stamp(http, url, head)
        stranger = Authority.read(TimeStampAuthority(tmp_path).certificates)
        with pytest.raises(ApexError, match="is not valid"):
            stranger.stamp(http, url, head)
    broken = bytearray(stamp.answer)
    broken[-20] ^= 1
    now = datetime.now(UTC)
    assert known.check(KeptAnchor(head, now, stamp)) is None
    assert known.check(KeptAnchor(other, now, stamp)) is not None
    assert stranger.check(KeptAnchor(head, now, stamp)) is not None
    changed = TimeStamp(url, bytes(broken))
    assert known.check(KeptAnchor(head, now, changed)) is not None


def test_an_anchor_is_made_although_the_authority_does_not_answer(database, authority):
    append(database)
    known = Authority.read(authority.certificates)
    with token_http(None) as http:
        done = daily(
            database, stamp=lambda head: known.stamp(http, "http://127.0.0.1:9/", head)
        )
    assert done.anchored is not None
    assert "does not answer" in str(done.failure)


def test_pruning_leaves_a_checkpoint_from_which_the_rest_verifies(
    database, database_url
):
    append(database, 5)
    daily(database)
    append(database, 4)
    age(database_url, 400)
    append(database, 2)
    assert database.transact(verify).problems == ()
    done = daily(database, keep=YEAR)
    assert done.pruned.events == done.pruned.through > 4
    found = database.transact(verify)
    assert found.problems == ()
    events = database.transact(lambda c: trail.newest(c, limit=100))
    assert min(e["sequence"] for e in events) == done.pruned.through + 1
    assert events[0]["action"] == "prune"
    assert events[0]["subject"] == {
        "through": done.pruned.through,
        "hash": done.pruned.hash,
    }
    append(database)
    assert database.transact(verify).problems == ()


def test_nothing_is_pruned_that_is_young_or_not_anchored(database, database_url):
    append(database, 3)
    age(database_url, 400)
    assert retention.prune(database, YEAR, AUTHOR) is None
    daily(database)
    assert retention.prune(database, YEAR, AUTHOR) is None


def test_more_than_was_pruned_cannot_be_deleted_and_is_found(database, database_url):
    append(database, 5)
    daily(database)
    age(database_url, 400)
    cut = retention.prune(database, YEAR, AUTHOR)
    assert cut is not None
    with psycopg.connect(database_url) as connection:
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            connection.transaction(),
        ):
            connection.execute(
                "DELETE FROM audit_event WHERE sequence <= %s", (cut.through + 1,)
            )
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            "DELETE FROM audit_event WHERE sequence <= %s", (cut.through + 1,)
        )
    assert "no pruning event accounts for" in database.transact(verify).problems[0]


def test_a_pack_can_be_checked_with_a_shell(
    database, database_url, authority, tmp_path
):
    append(database, 3, reason="naïve")
    known = Authority.read(authority.certificates)
    with authority.served() as url, token_http(None) as http:
        daily(database, stamp=lambda head: known.stamp(http, url, head))
    found = database.transact(lambda c: verify(c, check_stamp=known.check))
    today = datetime.now(UTC).date()
    folder = tmp_path / "pack"
    pack = database.transact(
        lambda c: write_pack(c, folder, today - timedelta(days=1), today, found)
    )
    lines = (folder / "events.jsonl").read_bytes().splitlines()
    assert pack.events == len(lines) == found.events
    previous = "00" * 32
    for line in lines:
        event = json.loads(line)
        told = event.pop("hash")
        assert event["previous_hash"] == previous
        text = json.dumps(
            event, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        assert sha256(text.encode()).hexdigest() == told
        previous = told
    with (folder / "events.csv").open(newline="", encoding="utf-8") as table:
        cells = list(csv.DictReader(table))
    assert [row["sequence"] for row in cells] == [str(n + 1) for n in range(len(lines))]
    assert json.loads((folder / "verification.json").read_text())["unbroken"] is True
    sums = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=False
    )
    assert sums.returncode == 0
    (anchor,) = json.loads((folder / "anchors.json").read_text())
    stamp = folder / anchor["time_stamp"]
    checked = subprocess.run(
        [
            *("openssl", "ts", "-verify", "-in", stamp),
            *("-data", stamp.with_suffix(".txt"), "-CAfile", authority.certificates),
        ],
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    page = (folder / "README.md").read_text()
    assert "CC6.1" in page
    assert "certifies nothing" in page
    with pytest.raises(ApexError, match="not empty"):
        database.transact(lambda c: write_pack(c, folder, today, today, found))


def test_a_pack_of_other_days_is_empty(database, tmp_path):
    append(database)
    found = database.transact(verify)
    day = date(2020, 1, 1)
    pack = database.transact(lambda c: write_pack(c, tmp_path / "p", day, day, found))
    assert pack.events == 0


def test_a_pack_may_reach_to_the_last_day_there_is(database, tmp_path):
    append(database)
    found = database.transact(verify)
    days = datetime.now(UTC).date(), date.max
    pack = database.transact(lambda c: write_pack(c, tmp_path / "p", *days, found))
    assert pack.events == found.events > 0


def test_a_list_may_reach_to_the_last_day_there_is(database):
    append(database)
    chosen = AuditListForm(last="9999-12-31").filters()
    assert len(database.transact(lambda c: newest(c, limit=9, **chosen))) == 1
    before = AuditListForm(last="2020-01-01").filters()
    assert database.transact(lambda c: newest(c, limit=9, **before)) == []


@pytest.mark.parametrize("text", ["", "5", "5:ab", f"0:{'a' * 64}", f"x:{'a' * 64}"])
def test_what_is_no_anchor_is_refused(text):
    with pytest.raises(ConfigError):
        parse_head(text)


def test_a_head_is_read_as_it_is_shown():
    head = Head(12, "ab" * 32)
    assert parse_head(f" {head} ") == head


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"APEX_AUDIT_KEEP": "29d"}, "at least 30 days"),
        ({"APEX_AUDIT_KEEP": "soon"}, "at least 30 days"),
        ({"APEX_AUDIT_NOTICE": "maybe"}, "on or off"),
        ({"APEX_TSA_URL": "http://tsa.example"}, "APEX_TSA_CERTIFICATES"),
        ({"APEX_TSA_URL": "tsa", "APEX_TSA_CERTIFICATES": __file__}, "https:// URL"),
        ({"APEX_TSA_CERTIFICATES": "/nowhere"}, "not a file"),
    ],
)
def test_wrong_settings_are_refused(environment, part):
    with pytest.raises(ConfigError, match=part):
        load_audit_settings(environment)


def test_settings_are_read():
    found = load_audit_settings({"APEX_AUDIT_KEEP": "7y", "APEX_AUDIT_NOTICE": "off"})
    assert found.keep == 7 * YEAR
    assert not found.is_told
    assert load_audit_settings({}).keep is None
