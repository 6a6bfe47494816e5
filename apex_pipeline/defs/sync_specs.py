"""What the assets of the sync are, and what is checked of them."""

from datetime import timedelta

import dagster as dg

from apex_pipeline.metrics import COLUMNS, PRIMARY_KEY, TABLE

_OWNERS = ["team:apex-data"]
_GROUP = "sync"
OPERATIONS = "operations"
"""Group of assets that people make or read to look after the pipeline."""

DELIVERED_WITHIN = timedelta(minutes=10)
_POSTGRES_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn("id", "uuid", "Primary key, and that of the record"),
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
        c.dataverse: [dg.TableColumnDep(dg.AssetKey("campaign_metrics"), c.postgres)]
        for c in COLUMNS
    }
    | {PRIMARY_KEY: [dg.TableColumnDep(dg.AssetKey("campaign_metrics"), "id")]}
)

CAMPAIGN_METRICS = dg.AssetSpec(
    "campaign_metrics",
    description="One row for each campaign run, written by the agents into Postgres.",
    group_name=_GROUP,
    kinds={"postgres"},
    owners=_OWNERS,
    metadata={
        "dagster/table_name": "campaign_metrics",
        "dagster/column_schema": _POSTGRES_SCHEMA,
    },
)

PENDING = dg.AssetSpec(
    "pending_campaign_metrics",
    description="Rows that Dataverse does not hold yet, oldest first, none forgotten.",
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
    "dataverse_campaign_metrics",
    description=(
        "Records upserted into Dataverse by the row's own id: in bulk, and one by one "
        "where a bulk request is refused, so that a bad row costs only itself. Fresh "
        "while rows that wait are delivered within ten minutes: a run that delivers "
        "nothing though it failed does not count, a tick that finds nothing waiting does."
    ),
    deps=[PENDING],
    group_name=_GROUP,
    kinds={"dataverse"},
    owners=_OWNERS,
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=DELIVERED_WITHIN),
    skippable=True,
    metadata={
        "dagster/table_name": TABLE,
        "dagster/column_schema": _DATAVERSE_SCHEMA,
        "dagster/column_lineage": _LINEAGE,
    },
)
EXPORTED = dg.AssetSpec(
    "exported_campaign_metrics",
    description="Rows marked in `exported_at`, after Dataverse acknowledged them.",
    deps=[DELIVERED],
    group_name=_GROUP,
    kinds={"postgres"},
    owners=_OWNERS,
    skippable=True,
    metadata={"dagster/table_name": "campaign_metrics"},
)
QUARANTINED = dg.AssetSpec(
    "quarantined_campaign_metrics",
    description=(
        "Rows that Dataverse cannot take as they are, each with the reason; tried "
        "again when due. The job `release_quarantine` shows, releases or drops them."
    ),
    deps=[DELIVERED],
    group_name=_GROUP,
    kinds={"postgres"},
    owners=_OWNERS,
    skippable=True,
    metadata={"dagster/table_name": "quarantined_campaign_metrics"},
)
SYNC_ASSETS = (PENDING.key, DELIVERED.key, EXPORTED.key, QUARANTINED.key)
"""What one sync materializes, all or none."""

DELIVERY_COMPLETE = dg.AssetCheckSpec(
    "delivery_complete",
    asset=DELIVERED.key,
    description="The last run that delivered ended without a failure; what it left is "
    "due to time alone.",
)
NO_ROWS_QUARANTINED = dg.AssetCheckSpec(
    "no_rows_quarantined",
    asset=QUARANTINED.key,
    description="No row is put aside to be tried again. One that a person has dropped "
    "does not count.",
)
