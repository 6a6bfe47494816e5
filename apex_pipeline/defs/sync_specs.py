"""Specs of the sync's assets and checks."""

import dagster as dg

from apex_pipeline.defs.code_location import asset_key
from apex_pipeline.metrics import COLUMNS, PRIMARY_KEY, TABLE
from apex_pipeline.monitoring.facts import OVERDUE

_OWNERS = ["team:apex-data"]
_GROUP = "sync"
OPERATIONS = "operations"
"""Group of the assets for operating the pipeline."""

_SOURCE = asset_key("campaign_metrics")

_POSTGRES_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn("id", "uuid", "Primary key of the row and of its record"),
        *(dg.TableColumn(c.postgres, c.type.label, c.description) for c in COLUMNS),
    ]
)
_DATAVERSE_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn(PRIMARY_KEY, "uuid", "Primary key: the row's id"),
        *(dg.TableColumn(c.dataverse, c.type.label, c.description) for c in COLUMNS),
    ]
)
_LINEAGE = dg.TableColumnLineage(
    deps_by_column={
        c.dataverse: [dg.TableColumnDep(_SOURCE, c.postgres)] for c in COLUMNS
    }
    | {PRIMARY_KEY: [dg.TableColumnDep(_SOURCE, "id")]}
)

CAMPAIGN_METRICS = dg.AssetSpec(
    _SOURCE,
    description="One row per campaign run, written to Postgres by the agents.",
    group_name=_GROUP,
    kinds={"postgres"},
    owners=_OWNERS,
    metadata={
        "dagster/table_name": "campaign_metrics",
        "dagster/column_schema": _POSTGRES_SCHEMA,
    },
)

PENDING = dg.AssetSpec(
    asset_key("pending_campaign_metrics"),
    description="Rows that Dataverse does not hold yet, oldest first, however old.",
    deps=[CAMPAIGN_METRICS],
    group_name=_GROUP,
    kinds={"postgres"},
    owners=_OWNERS,
    skippable=True,
    metadata={
        "dagster/table_name": "campaign_metrics_pending",
        "dagster/column_schema": _POSTGRES_SCHEMA,
    },
)
DELIVERED = dg.AssetSpec(
    asset_key("dataverse_campaign_metrics"),
    description=(
        "Records upserted into Dataverse under the row's own id: in bulk, and one by one "
        "if a bulk request is refused, so a bad row affects no other. Fresh if pending "
        "rows were delivered, or none were pending, within the last ten minutes."
    ),
    deps=[PENDING],
    group_name=_GROUP,
    kinds={"dataverse"},
    owners=_OWNERS,
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=OVERDUE),
    skippable=True,
    metadata={
        "dagster/table_name": TABLE,
        "dagster/column_schema": _DATAVERSE_SCHEMA,
        "dagster/column_lineage": _LINEAGE,
    },
)
EXPORTED = dg.AssetSpec(
    asset_key("exported_campaign_metrics"),
    description="Rows marked in `exported_at` after Dataverse acknowledged them.",
    deps=[DELIVERED],
    group_name=_GROUP,
    kinds={"postgres"},
    owners=_OWNERS,
    skippable=True,
    metadata={"dagster/table_name": "campaign_metrics"},
)
QUARANTINED = dg.AssetSpec(
    asset_key("quarantined_campaign_metrics"),
    description=(
        "Rows that Dataverse refused, each with the reason; retried when due. The job "
        "`release_quarantine` lists, releases or drops them."
    ),
    deps=[DELIVERED],
    group_name=_GROUP,
    kinds={"postgres"},
    owners=_OWNERS,
    skippable=True,
    metadata={"dagster/table_name": "quarantined_campaign_metrics"},
)
SYNC_ASSETS = (PENDING.key, DELIVERED.key, EXPORTED.key, QUARANTINED.key)
"""The assets that a sync materializes together."""

DELIVERY_COMPLETE = dg.AssetCheckSpec(
    "delivery_complete",
    asset=DELIVERED.key,
    description="The last run that delivered did not fail; it left rows only if its time "
    "ran out.",
)
NO_ROWS_QUARANTINED = dg.AssetCheckSpec(
    "no_rows_quarantined",
    asset=QUARANTINED.key,
    description="No row is waiting in quarantine. Dropped rows do not count.",
)
