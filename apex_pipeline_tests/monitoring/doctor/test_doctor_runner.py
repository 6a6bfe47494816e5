"""How checks are gone through: at once, in order, and never for ever."""

import threading

from apex_pipeline.errors import ApexError
from apex_pipeline.monitoring.doctor.check_results import (
    Check,
    CheckState,
    Measurement,
    failed,
    ok,
    warning,
)
from apex_pipeline.monitoring.doctor.runner import examine
from apex_pipeline_tests.support.waiting import SECONDS


def check(name, probe, *needs):
    return Check(name, "well", "Mend it.", probe, needs)


def states(lines):
    return {line.name: line.state for line in lines}


def test_what_depends_on_a_failure_names_the_first_cause_and_is_not_looked_at():
    looked = []

    def look():
        looked.append(1)
        return ok("fine")

    lines = examine(
        [
            check("root", lambda: failed("broken")),
            check("child", look, "root"),
            check("grandchild", look, "child"),
            check("other", lambda: ok("fine")),
        ]
    )
    assert states(lines) == {
        "root": CheckState.FAILED,
        "child": CheckState.NOT_CHECKED,
        "grandchild": CheckState.NOT_CHECKED,
        "other": CheckState.OK,
    }
    assert [line.measured for line in lines[1:3]] == ["because of: root"] * 2
    assert [line.remedy for line in lines] == ["Mend it.", "", "", ""]
    assert looked == []


def test_a_warning_holds_nothing_up():
    lines = examine(
        [
            check("root", lambda: warning("odd", "Look at it.")),
            check("child", lambda: ok("fine"), "root"),
        ]
    )
    assert [line.state for line in lines] == [CheckState.WARNING, CheckState.OK]
    assert lines[0].remedy == "Look at it."


def test_our_errors_are_findings_and_a_slip_is_named_and_costs_its_own_line():
    def refuse() -> Measurement:
        raise ApexError("it says no")

    (line,) = examine([check("root", refuse)])
    assert (line.state, line.measured) == (CheckState.FAILED, "it says no")

    def slip() -> Measurement:
        raise KeyError("ours")

    lines = examine(
        [
            check("root", slip),
            check("child", slip, "root"),
            check("other", lambda: ok("fine")),
        ]
    )
    assert [line.state for line in lines] == [
        CheckState.FAILED,
        CheckState.NOT_CHECKED,
        CheckState.OK,
    ]
    assert lines[0].measured.startswith(
        "a bug in apex_pipeline: KeyError in test_doctor_runner.py:"
    )
    assert "Report this bug" in lines[0].remedy


def test_what_hangs_is_given_up_and_what_waits_for_it_is_not_blamed():
    never = threading.Event()

    def hang() -> Measurement:
        never.wait()
        return ok("late")

    lines = examine(
        [
            check("hanging", hang),
            check("child", lambda: ok("fine"), "hanging"),
            check("other", lambda: ok("fine")),
        ],
        seconds=2.0,
    )
    never.set()
    assert states(lines) == {
        "hanging": CheckState.FAILED,
        "child": CheckState.NOT_CHECKED,
        "other": CheckState.OK,
    }
    assert lines[0].measured == "no answer within 2 s"


def test_checks_run_at_once():
    together = threading.Barrier(12)

    def meet() -> Measurement:
        together.wait(SECONDS)
        return ok("met")

    lines = examine([check(str(n), meet) for n in range(12)], seconds=60)
    assert {line.state for line in lines} == {CheckState.OK}
