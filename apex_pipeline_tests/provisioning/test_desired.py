"""What is asked for, given what is there."""

import dataclasses
import json

import pytest

from apex_pipeline.metrics import TABLE
from apex_pipeline.provisioning.desired_state import ChangeKind, make_plan
from apex_pipeline.provisioning.existing_state import (
    ROLE,
    Found,
    FoundColumn,
    FoundPublisher,
    FoundRole,
    FoundSolution,
    FoundTable,
    FoundUser,
)
from apex_pipeline.provisioning.table_definition import table_definition
from apex_pipeline_tests.support.empty_environment import APPLICATION

SOUND = Found(
    1033,
    is_audited=True,
    business_unit="root",
    application=APPLICATION,
    metadata_privileges={"prvReadEntity": "1", "prvReadAttribute": "2"},
    publishers=(FoundPublisher("p", "apex", "apex"),),
    solution=FoundSolution("s", "p", False, frozenset({"t", "r"})),
    table=FoundTable(
        "t",
        False,
        "Standard",
        "apex_campaignmetricses",
        has_change_tracking=True,
        is_audited=True,
        columns={},
        privileges={"Create": "3", "Read": "4", "Write": "5", "Delete": "6"},
    ),
    role=FoundRole("r", dict.fromkeys("12345", "Global")),
    user=FoundUser("u", is_disabled=False, business_unit="root", roles={"r": ROLE}),
)
CALCULATED = FoundColumn("String", is_writable=False, facets={"MaxLength": 64})


@pytest.mark.parametrize(
    ("part", "changes", "text"),
    [
        ("table", {"table_type": "Elastic"}, "of type Elastic"),
        ("table", {"entity_set": "metrics"}, "entity set"),
        ("table", {"columns": {"apex_runid": CALCULATED}}, "not writable"),
        ("solution", {"is_managed": True}, "is managed"),
        ("user", {"business_unit": "other"}, "not in the root business unit"),
    ],
)
def test_what_only_a_person_can_mend_is_named(part, changes, text):
    assert make_plan(SOUND).drifts == ()
    changed = dataclasses.replace(getattr(SOUND, part), **changes)
    (drift,) = make_plan(dataclasses.replace(SOUND, **{part: changed})).drifts
    assert text in drift


def test_our_publishers_name_with_another_prefix_is_named():
    taken = FoundPublisher("p", "apex", "new")
    found = dataclasses.replace(SOUND, publishers=(taken,), solution=None)
    (drift,) = make_plan(found).drifts
    assert "different prefix" in drift


def test_a_privilege_of_less_depth_is_granted_again():
    role = FoundRole("r", dict.fromkeys("1234", "Global") | {"5": "Basic"})
    found = dataclasses.replace(SOUND, role=role)
    assert found.missing_privileges() == ["5"]
    assert ChangeKind.PRIVILEGES in {change.kind for change in make_plan(found).changes}


def test_labels_are_written_in_the_organizations_language():
    text = json.dumps(table_definition(1031))
    assert text.count('"LanguageCode": 1031') == text.count('"LanguageCode"') > 26


def test_what_was_made_elsewhere_is_filed_unless_it_is_managed():
    assert SOUND.table is not None
    empty = FoundSolution("s", "p", is_managed=False)
    elsewhere = dataclasses.replace(SOUND, solution=empty)
    filings = [
        c.subject for c in make_plan(elsewhere).changes if c.kind is ChangeKind.FILING
    ]
    assert filings == [TABLE, ROLE]
    table = dataclasses.replace(SOUND.table, is_managed=True)
    plan = make_plan(dataclasses.replace(elsewhere, table=table))
    assert [c.subject for c in plan.changes if c.kind is ChangeKind.FILING] == [ROLE]
    assert any("managed solution" in note for note in plan.notes)
