"""Tell what is ours from what is others' on a shared instance: assets, runs, sensors.

Dagster tags each run that is created through a workspace with its code location: by the
UI, a schedule, a sensor, a backfill or `dagster job launch`. Our jobs carry the same
tag, which also covers runs that a command starts in its own process.
"""

import os
from collections.abc import Callable

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
from dagster._core.scheduler.instigation import InstigatorState
from dagster._core.storage.tags import CODE_LOCATION_TAG

from apex_pipeline.settings import (
    LOCATION_VARIABLE,
    load_code_location,
    load_tenant,
)

# Dagster tells the name only to the process that loads definitions for a workspace.
_REPORTED = DefinitionsLoadContext.get().code_location_name

LOCATION = _REPORTED or load_code_location(os.environ)

TENANT = load_tenant(os.environ)
"""Whose code location this is."""

OURS = {CODE_LOCATION_TAG: LOCATION}
"""Tags that select our runs in the storage."""

DefinitionsParam = dg.ResourceParam[Callable[[], dg.Definitions]]
"""All definitions, for an op that reads them: `definitions.py` imports the op."""

_MODULE = "apex_pipeline.definitions"


def asset_key(name: str) -> dg.AssetKey:
    """Key of one of our assets; on a shared instance no other tenant has it."""
    return dg.AssetKey([*TENANT.key_prefix, name])


def asset_name(key: dg.AssetKey) -> str:
    """The name of an asset, without the tenant if it is ours."""
    prefix = [*TENANT.key_prefix]
    ours = prefix == [*key.path[: len(prefix)]]
    return "/".join(key.path[len(prefix) :] if ours else key.path)


def publish_location() -> None:
    """Tell the name to children, and to what reads the settings, by the environment."""
    if _REPORTED:
        os.environ[LOCATION_VARIABLE] = _REPORTED


def is_our_run(run: dg.DagsterRun) -> bool:
    """Whether our code location made a run.

    `dagster asset materialize` creates runs without a location. Those that load our
    module are ours, or another tenant's if they make its assets.
    """
    named = run.tags.get(CODE_LOCATION_TAG)
    if named is not None:
        return named == LOCATION
    origin = run.job_code_origin
    if run.remote_job_origin is not None or origin is None:
        return False
    pointer = origin.repository_origin.code_pointer
    selected = run.asset_selection or frozenset()
    return getattr(pointer, "module", None) == _MODULE and all(
        key.path[:-1] == [*TENANT.key_prefix] for key in selected
    )


def is_our_instigator(state: InstigatorState) -> bool:
    """Whether a schedule or sensor belongs to our code location."""
    return state.origin.repository_origin.code_location_origin.location_name == LOCATION
