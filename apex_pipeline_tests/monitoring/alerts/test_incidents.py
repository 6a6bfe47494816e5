"""Which notices are sent, on a simulated clock."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from apex_pipeline.monitoring.alerts.incidents import (
    FLAPPING,
    GRACE,
    MEMORY,
    REMINDER,
    STEADY,
    Silence,
)
from apex_pipeline.monitoring.alerts.notice import (
    Notice,
    NoticeKind,
    Observation,
    is_within,
)
from apex_pipeline.monitoring.rules.catalogue import RULES
from apex_pipeline.texts.durations import words
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.rule_findings import World, finding

OPENED, REMINDED, RESOLVED = (
    NoticeKind.OPENED,
    NoticeKind.REMINDED,
    NoticeKind.RESOLVED,
)


@pytest.fixture
def world() -> World:
    return World()


def test_an_incident_alerts_once_and_resolves_once(world):
    assert world.wrong(finding("a")) == [("a", OPENED)]
    for _ in range(5):
        world.later(minutes=1)
        assert world.wrong(finding("a")) == []
    assert world.well("a") == [("a", RESOLVED)]
    assert world.well("a") == []
    resolved = world.notices[-1]
    assert dict(resolved.facts)["Lasted"] == "5 min"
    assert (resolved.cause, resolved.remedy) == ("", "")


def test_people_are_reminded_every_four_hours_with_how_often_it_happened(world):
    world.wrong(finding("a", is_event=True))
    world.later(hours=2)
    world.wrong(finding("a", is_event=True))
    assert world.see() == []
    world.later(hours=2)
    assert world.see() == [("a", REMINDED)]
    assert dict(world.notices[-1].facts)["Times"] == "2"
    world.later(hours=3.9)
    assert world.see() == []
    world.later(hours=0.1)
    assert world.see() == [("a", REMINDED)]


def test_another_cause_is_told_though_the_incident_is_the_same(world):
    world.wrong(finding("a", cause_key="one"))
    world.later(minutes=31)
    assert world.wrong(finding("a", cause="now two", cause_key="two")) == [
        ("a", REMINDED)
    ]
    assert world.notices[-1].cause == "now two"
    world.later(minutes=31)
    assert world.wrong(finding("a", cause_key="two")) == []


def test_what_is_not_repeated_is_told_again_only_when_it_changes(world):
    world.wrong(finding("a", is_repeated=False, cause_key="30"))
    world.later(days=16)
    assert world.wrong(finding("a", is_repeated=False, cause_key="30")) == []
    assert world.wrong(finding("a", is_repeated=False, cause_key="14")) == [
        ("a", REMINDED)
    ]


def test_consequences_send_no_notice(world):
    assert world.wrong(finding("root", "late"), finding("late/x")) == [("root", OPENED)]
    assert world.well("late/x", "root") == [("root", RESOLVED)]


def test_what_follows_and_is_still_there_afterwards_is_told_then(world):
    world.wrong(finding("root", "late"), finding("late"))
    world.well("root")
    world.later(seconds=GRACE.total_seconds() - 1)
    assert world.see() == []
    world.later(seconds=1)
    assert world.see() == [("late", OPENED)]


def test_what_was_told_before_its_cause_was_found_is_not_repeated_meanwhile(world):
    world.wrong(finding("late"))
    world.wrong(finding("root", "late"))
    world.later(hours=4)
    assert world.see() == [("root", REMINDED)]
    assert world.well("root", "late") == [("root", RESOLVED), ("late", RESOLVED)]


def test_of_two_that_may_be_each_others_cause_the_first_is_told(world):
    assert world.wrong(finding("a", "b"), finding("b", "a")) == [("a", OPENED)]
    world.later(hours=4)
    assert world.see() == [("a", REMINDED)]


def test_a_run_that_began_before_its_cause_was_mended_is_held_back(world):
    began = world.now
    world.later(minutes=1)
    world.wrong(finding("root", "run"))
    world.later(minutes=1)
    world.well("root")
    world.later(minutes=1)
    run = finding("run", is_event=True, began_at=began)
    assert world.wrong(run) == []
    assert world.wrong(finding("other", began_at=began)) == [("other", OPENED)]
    world.later(minutes=6)
    assert world.see() == [("run", OPENED)]


def test_a_state_that_was_met_before_it_is_known_to_have_ended_is_past(world):
    began = world.now
    world.later(minutes=1)
    world.wrong(finding("root"))
    world.well("root")
    assert world.wrong(finding("root", began_at=began)) == []
    assert world.wrong(finding("root", began_at=world.now + MEMORY)) == [
        ("root", OPENED)
    ]


def test_what_fails_and_succeeds_between_two_looks_is_told(world):
    failure = Observation("run", (finding("run"),))
    success = Observation("run")
    assert (
        world.see(failure, success, failure, success)
        == [
            ("run", OPENED),
            ("run", RESOLVED),
        ]
        * 2
    )
    assert len({notice.key for notice in world.notices}) == 4


def test_what_comes_and_goes_is_called_well_only_when_it_stays_so(world):
    for _ in range(FLAPPING - 1):
        assert world.wrong(finding("a")) == [("a", OPENED)]
        world.later(minutes=2)
        assert world.well("a") == [("a", RESOLVED)]
    assert world.wrong(finding("a")) == [("a", OPENED)]
    for _ in range(10):
        world.later(minutes=2)
        assert world.well("a") == []
        assert world.wrong(finding("a")) == []
    world.well("a")
    world.later(minutes=14)
    assert world.well("a") == []
    world.later(minutes=1)
    assert world.see() == [("a", RESOLVED)]


def test_incidents_without_a_notice_do_not_count_as_flapping(world):
    for number in range(FLAPPING):
        root = f"root{number}"
        assert world.wrong(finding(root, "a"), finding("a")) == [(root, OPENED)]
        world.later(minutes=2)
        assert world.well("a", root) == [(root, RESOLVED)]
    assert world.wrong(finding("a")) == [("a", OPENED)]
    assert world.well("a") == [("a", RESOLVED)]


def test_a_silence_ends_and_what_is_still_wrong_then_is_told(world):
    world.silences = [Silence("rule", world.now + timedelta(hours=1))]
    assert world.wrong(finding("rule/x")) == []
    assert world.wrong(finding("ruler")) == [("ruler", OPENED)]
    world.later(hours=1)
    assert world.see() == [("rule/x", OPENED)]


def test_a_silenced_cause_still_answers_for_what_follows(world):
    world.silences = [Silence("root", world.now + timedelta(hours=1))]
    assert world.wrong(finding("root", "late"), finding("late")) == []


def test_who_heard_that_it_is_wrong_hears_that_it_is_well_in_spite_of_a_silence(world):
    world.wrong(finding("a"))
    world.silences = [Silence("a", world.now + timedelta(hours=1))]
    assert world.well("a") == [("a", RESOLVED)]


def test_one_scope_says_nothing_of_another(world):
    world.wrong(finding("run/a"), finding("run/ab"))
    assert world.well("run/a") == [("run/a", RESOLVED)]
    assert world.well("run") == [("run/ab", RESOLVED)]


def test_a_clock_that_is_set_back_leaves_no_impossible_times(world):
    world.wrong(finding("a"))
    world.later(hours=-2)
    world.wrong(finding("a"))
    assert world.well("a") == [("a", RESOLVED)]
    (incident,) = world.incidents
    assert incident.resolved_at >= incident.opened_at


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=400)))
def test_a_duration_is_said_in_two_units_at_most(duration):
    said = words(duration)
    units = {"day": 86_400, "days": 86_400, "h": 3_600, "min": 60, "s": 1}
    parts = said.split()
    assert len(parts) in {2, 4}
    seconds = sum(
        int(n) * units[unit] for n, unit in zip(parts[::2], parts[1::2], strict=True)
    )
    # A unit that would be zero is left out.
    smallest = {"days": 3_600, "day": 3_600, "h": 60, "min": 1, "s": 1}[parts[1]]
    assert 0 <= int(duration.total_seconds()) - seconds < smallest


def reaches(name: str, other: str) -> bool:
    return any(is_within(other, scope) for scope in RULES[name].inhibits)


def test_no_rule_of_ours_is_its_own_cause_by_way_of_others():
    """Otherwise each would wait for another, and no notice would be sent."""

    def followers(name: str) -> set[str]:
        found: set[str] = set()
        frontier = {name}
        while frontier:
            frontier = {b for a in frontier for b in RULES if reaches(a, b)} - found
            found |= frontier
        return found

    for name in RULES:
        assert name not in followers(name)


NAMES = ["root", "middle", "leaf/1", "leaf/2"]
INHIBITS = {"root": ("middle", "leaf"), "middle": ("leaf",)}
names = st.sampled_from(NAMES)


class Story(RuleBasedStateMachine):
    """Anything may happen, at any time; what people believe has to be true."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.believed: set[str] = set()
        self.is_wrong: set[str] = set()
        self.told_at: dict[str, datetime] = {}

    @rule(name=names)
    def breaks(self, name: str) -> None:
        made = finding(name, *INHIBITS.get(name, ()), is_event=True)
        self.is_wrong.add(name)
        self._hear(Observation(name, (made,)))

    @rule(scope=st.sampled_from([*NAMES, "leaf"]))
    def is_mended(self, scope: str) -> None:
        self.is_wrong -= {n for n in self.is_wrong if is_within(n, scope)}
        self._hear(Observation(scope))

    @rule(
        seconds=st.sampled_from([1, 60, 600, 3600, 4 * 3600]) | st.integers(1, 5 * 3600)
    )
    def time_passes(self, seconds: int) -> None:
        self.world.later(seconds=seconds)
        self._hear()

    @rule(scope=names, minutes=st.integers(1, 600))
    def is_silenced(self, scope: str, minutes: int) -> None:
        until = self.world.now + timedelta(minutes=minutes)
        self.world.silences.append(Silence(scope, until))

    def _hear(self, *observations: Observation) -> None:
        before = len(self.world.notices)
        self.world.see(*observations)
        for notice in self.world.notices[before:]:
            self._take(notice)

    def _take(self, notice: Notice) -> None:
        name = dict(notice.facts)["Incident"]
        match notice.kind:
            case NoticeKind.OPENED:
                assert name not in self.believed, "told twice"
                self.believed.add(name)
            case NoticeKind.REMINDED:
                assert name in self.believed, "reminded of what was never told"
                assert self.world.now - self.told_at[name] >= REMINDER
            case NoticeKind.RESOLVED:
                assert name in self.believed, "called off without having been told"
                assert name not in self.is_wrong, "called off while it is wrong"
                self.believed.remove(name)
        self.told_at[name] = self.world.now

    @invariant()
    def people_believe_nothing_that_has_long_been_over(self) -> None:
        known = {i.fingerprint: i for i in self.world.incidents if i.is_open}
        for name in self.believed - self.is_wrong:
            since = known[name].well_since
            assert since is not None
            assert self.world.now - since < STEADY

    @invariant()
    def whatever_is_wrong_is_told_of_itself_or_by_its_cause(self) -> None:
        quiet = [s.scope for s in self.world.silences if s.until > self.world.now]
        held = {
            i.fingerprint
            for i in self.world.incidents
            if i.is_open and i.held_until and i.held_until > self.world.now
        }
        for name in self.is_wrong - self.believed:
            silenced = any(is_within(name, scope) for scope in quiet)
            roots = {
                r for r in self.is_wrong if name.split("/")[0] in INHIBITS.get(r, ())
            }
            assert silenced or roots or name in held

    @invariant()
    def no_notice_has_the_key_of_another(self) -> None:
        keys = [notice.key for notice in self.world.notices]
        assert len(set(keys)) == len(keys)

    @invariant()
    def no_incident_is_open_twice(self) -> None:
        open_now = [i.fingerprint for i in self.world.incidents if i.is_open]
        assert len(set(open_now)) == len(open_now)


TestStory = Story.TestCase
TestStory.settings = settings(examples(60), stateful_step_count=30)
