"""What was found of figures, as results of Dagster's checks."""

from collections.abc import Iterable, Mapping

import dagster as dg

from apex_pipeline.analytics.rollups.rollup_checks import Finding


def check_results(
    findings: Iterable[Finding], severities: Mapping[str, dg.AssetCheckSeverity]
) -> list[dg.AssetCheckResult]:
    """One result for each finding."""
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
