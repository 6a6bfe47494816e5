"""The checks of the Postgres that holds the metrics."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial

from apex_pipeline.errors import ConfigError
from apex_pipeline.monitoring.doctor import (
    audit_trail,
    machine,
    recent_delivery,
    time_zones,
    trial_mark,
)
from apex_pipeline.monitoring.doctor.check_results import (
    Check,
    Measurement,
    not_checked,
)
from apex_pipeline.monitoring.doctor.configuration import Configuration
from apex_pipeline.monitoring.doctor.postgres_state import Postgres
from apex_pipeline.monitoring.doctor.surroundings import Surroundings
from apex_pipeline.monitoring.facts import LATE
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings

_PROVISION_DATABASE = "Run `apex provision database`."


def database_checks(url: str, around: Surroundings) -> Iterator[Check]:
    """The checks of the Postgres that holds the metrics."""
    postgres = Postgres(url)

    def now_in(look: Callable[[Database, datetime], Measurement]) -> Measurement:
        with postgres.open_database() as database:
            return look(database, around.now())

    yield Check(
        "database",
        "answers, Postgres 14 or later",
        "Check DATABASE_URL, and that Postgres is running and reachable from here.",
        postgres.reachable,
    )
    yield Check(
        "migrations",
        "all applied",
        _PROVISION_DATABASE,
        postgres.migrations,
        ("database",),
    )
    yield Check(
        "tables and views",
        "all exist, readable",
        _PROVISION_DATABASE,
        postgres.relations,
        ("migrations",),
    )
    yield Check(
        "indexes",
        "all exist, valid",
        _PROVISION_DATABASE,
        postgres.indexes,
        ("tables and views",),
    )
    yield Check(
        "pending query",
        "uses an index of the pending rows",
        "Run `ANALYZE campaign_metrics`; if that does not help, compare the index with "
        "sql/0004_index_pending.sql.",
        postgres.plan,
        ("indexes",),
    )
    yield Check(
        "key of campaign_metrics",
        "id is unique",
        "Remove duplicate ids, then run `ALTER TABLE campaign_metrics ADD UNIQUE (id)`. "
        "Rows that share an id share one record in Dataverse.",
        postgres.unique_id,
        ("tables and views",),
    )

    yield Check(
        "marks",
        "a delivered row can be marked",
        trial_mark.REMEDY,
        partial(now_in, trial_mark.marks_take),
        ("tables and views",),
    )
    yield Check(
        "database role",
        "may do what a sync needs",
        _PROVISION_DATABASE,
        postgres.role,
        ("tables and views",),
    )
    yield Check(
        "database schema",
        "not everybody may create objects there",
        _PROVISION_DATABASE,
        postgres.schema,
        ("tables and views",),
    )
    yield Check(
        "clock of Postgres",
        machine.SKEW_TARGET,
        machine.SKEW_REMEDY,
        partial(postgres.clock, around.now),
        ("database",),
    )

    yield Check(
        "last success",
        f"no row is pending for more than {_minutes(LATE)} without one",
        "Run `apex sync` and read its message.",
        partial(now_in, recent_delivery.last_success),
        ("tables and views",),
    )

    yield Check(
        "audit trail",
        "unbroken, verified and anchored within two days",
        audit_trail.REMEDY,
        partial(now_in, audit_trail.last_result),
        ("tables and views",),
    )


def time_zone_check(
    configuration: Configuration, url: str, around: Surroundings
) -> Check:
    """Compare the time zones of Postgres with those of this machine."""

    def compared() -> Measurement:
        try:
            analysis = load_analysis_settings(configuration.environment)
        except ConfigError as error:
            if not configuration.tells(error):
                raise
            return not_checked("configuration")
        with Postgres(url).open_database() as database:
            return time_zones.compare(
                database,
                analysis.time_zones,
                analysis.first_label,
                around.now().date(),
            )

    return Check(
        "time zones", time_zones.TARGET, time_zones.REMEDY, compared, ("database",)
    )


def _minutes(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 60:g} min"
