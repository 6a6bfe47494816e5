"""An answer about a column that is not as documented is told in a sentence."""

import dataclasses
import json

import pytest

from apex_pipeline.errors import DataverseError, SchemaDriftError
from apex_pipeline.provisioning.dataverse import provision
from apex_pipeline_tests.support.empty_environment import (
    APPLICATION,
    empty_emulator,
    made_once,
)
from apex_pipeline_tests.support.emulator_server import web_api
from apex_pipeline_tests.support.hostile import answer, serving

__all__ = ["empty_emulator", "made_once"]

HEADERS = {"OData-Version": "4.0", "Content-Type": "application/json"}
GONE = object()


@pytest.fixture
def planned(empty_emulator, made_once, tmp_path):
    """Plans, with one facet of every column read as something else."""
    empty_emulator.restore(made_once)

    def plan(facet, value, **options):
        def relay(asked):
            path = asked.path.partition("/api/data/v9.2/")[2]
            found = api.get(path).raise_for_status().json()
            for row in found.get("value", ()):
                if facet in row and value is GONE:
                    del row[facet]
                elif facet in row:
                    row[facet] = value
            body = json.dumps(found).encode().replace(b'"HUGE"', b"1e999999999999")
            return answer(200, HEADERS, body)

        with web_api(empty_emulator) as api, serving(tmp_path) as served:
            served.says = relay
            settings = dataclasses.replace(served.settings(), client_id=APPLICATION)
            return provision(settings, None, tmp_path / "tokens.json", **options)

    return plan


@pytest.mark.parametrize("plan_only", [True, False])
@pytest.mark.parametrize("value", [{}, None, "many", GONE])
@pytest.mark.parametrize("facet", ["MaxLength", "Precision", "MinValue"])
def test_a_facet_of_another_type_is_no_crash(planned, facet, value, plan_only):
    with pytest.raises(DataverseError, match=r"(documented shape|lacks).*apex doctor"):
        planned(facet, value, plan_only=plan_only)


def test_a_bound_of_endless_digits_is_not_written_out(planned):
    with pytest.raises(SchemaDriftError, match=r"holds 1E\+999999999999 to"):
        planned("MinValue", "HUGE")
