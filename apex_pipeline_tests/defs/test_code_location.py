"""Which runs on a shared instance are ours."""

import sys

import dagster as dg
import pytest
from dagster._core.code_pointer import FileCodePointer, ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.storage.dagster_run import DagsterRun

from apex_pipeline.defs.code_location import LOCATION, is_our_run
from apex_pipeline.defs.sync_specs import SYNC_ASSETS

TAG = "dagster/code_location"
OURS = ModuleCodePointer("apex_pipeline.definitions", "defs", None)
THEIRS = ModuleCodePointer("another_team.definitions", "defs", None)
FILE = FileCodePointer("definitions.py", "defs", None)


@pytest.mark.parametrize(
    ("tags", "pointer", "selected", "is_ours"),
    [
        ({TAG: LOCATION}, None, None, True),
        ({TAG: LOCATION}, THEIRS, None, True),
        ({TAG: "another_apex"}, OURS, SYNC_ASSETS, False),
        # `dagster asset materialize` and `dagster job execute` name no location.
        ({}, OURS, SYNC_ASSETS, True),
        ({}, OURS, None, True),
        ({}, OURS, [dg.AssetKey(["a_tenant", "campaign_metrics"])], False),
        ({}, THEIRS, None, False),
        ({}, FILE, None, False),
        ({}, None, None, False),
    ],
)
def test_a_run_is_ours_by_its_location_or_else_by_the_module_that_it_loads(
    tags, pointer, selected, is_ours
):
    origin = pointer and JobPythonOrigin(
        "__ASSET_JOB", RepositoryPythonOrigin(sys.executable, pointer)
    )
    run = DagsterRun(
        job_name="__ASSET_JOB",
        tags=tags,
        job_code_origin=origin,
        asset_selection=None if selected is None else frozenset(selected),
    )
    assert is_our_run(run) is is_ours
