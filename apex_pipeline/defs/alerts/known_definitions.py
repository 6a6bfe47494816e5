"""What our code location has, and what a run of it selects, by the names in incidents."""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME

from apex_pipeline.defs.code_location import asset_name
from apex_pipeline.monitoring.rules.catalogue import CHECK_FAILED, RUN_FAILED
from apex_pipeline.monitoring.rules.run_outcomes import CHECK_MARK, SEPARATOR


@dataclass(frozen=True, slots=True)
class KnownDefinitions:
    """Our jobs, assets and checks; none if the repository is not known."""

    repository: dg.RepositoryDefinition | None

    def made(self, run: dg.DagsterRun) -> frozenset[dg.AssetKey]:
        """The assets that a run materializes."""
        if run.asset_selection is not None:
            return frozenset(run.asset_selection)
        if run.job_name != IMPLICIT_ASSET_JOB_NAME:
            return self._selections().get(run.job_name, frozenset())
        if run.asset_check_selection or self.repository is None:
            return frozenset()
        return frozenset(self.repository.asset_graph.materializable_asset_keys)

    def work(self, run: dg.DagsterRun) -> str:
        """Name the work of a run, the same whether a job or *Materialize* started it."""
        if run.job_name != IMPLICIT_ASSET_JOB_NAME:
            return run.job_name
        made = self.made(run)
        same = [name for name, keys in self._selections().items() if keys == made]
        if same:
            return same[0]
        checks = run.asset_check_selection or ()
        names = sorted(map(asset_name, made) if made else map(check_name, checks))
        return SEPARATOR.join(names) or "all assets"

    def jobs_within(self, made: frozenset[dg.AssetKey]) -> frozenset[str]:
        """Our jobs whose assets all are among these."""
        found = self._selections().items()
        return frozenset(name for name, keys in found if keys <= made)

    def states(self, check: dg.AssetCheckKey) -> str:
        """What a check expects, from its description; may be empty."""
        graph = self.repository.asset_graph if self.repository else None
        if graph is None or check not in graph.asset_check_keys:
            return ""
        return graph.get_check_spec(check).description or ""

    def selectable(self) -> frozenset[str]:
        """Names of all assets and checks, as incidents of selections have them."""
        if self.repository is None:
            return frozenset()
        graph = self.repository.asset_graph
        return frozenset(
            {asset_name(key) for key in graph.materializable_asset_keys}
            | {check_name(key) for key in graph.asset_check_keys}
        )

    def observable(self) -> Mapping[str, frozenset[str]]:
        """What incidents of runs and of checks may be about, by the name of the rule.

        Empty if the repository is not known.
        """
        if self.repository is None:
            return {}
        checks = self.repository.asset_graph.asset_check_keys
        jobs = {job.name for job in self.repository.get_all_jobs()}
        return {
            RUN_FAILED.name: self.selectable() | jobs,
            CHECK_FAILED.name: frozenset(
                f"{asset_name(key.asset_key)}/{key.name}" for key in checks
            ),
        }

    def _selections(self) -> dict[str, frozenset[dg.AssetKey]]:
        """Map each of our jobs that materializes assets to those assets."""
        if self.repository is None:
            return {}
        return {
            job.name: frozenset(job.asset_layer.selected_asset_keys)
            for job in self.repository.get_all_jobs()
            if job.name != IMPLICIT_ASSET_JOB_NAME
            and job.asset_layer.selected_asset_keys
        }


def check_name(check: dg.AssetCheckKey) -> str:
    """The name of a check with its asset's, as incidents of selections have it."""
    return f"{asset_name(check.asset_key)}{CHECK_MARK}{check.name}"
