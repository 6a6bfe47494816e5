"""Convert findings about rollups and forecasts to Dagster check results."""

from collections.abc import Iterable, Mapping

import dagster as dg

from apex_pipeline.analytics.rollups.rollup_checks import RollupMismatch


def check_results(
    findings: Iterable[RollupMismatch], severities: Mapping[str, dg.AssetCheckSeverity]
) -> list[dg.AssetCheckResult]:
    """Return one result per finding, with its count and examples as metadata."""
    return [
        dg.AssetCheckResult(
            check_name=finding.check,
            passed=finding.passed,
            severity=severities[finding.check],
            metadata={
                "wrong": finding.wrong,
                "examples": "; ".join(finding.examples) or "none",
            },
        )
        for finding in findings
    ]
