"""The options of `apex export` and of the job `export_csv`."""

from dataclasses import dataclass

from apex_pipeline.analytics.csv.csv_datasets import (
    DATASETS,
    HISTORY_DAYS,
    MOST_HISTORY_DAYS,
    ExportSelection,
    select,
)
from apex_pipeline.errors import ConfigError
from apex_pipeline.flags_and_launchpad_forms.declaring import (
    Form,
    number,
    option,
    read_day,
    switch,
    text,
)
from apex_pipeline.settings import AnalysisSettings

CSV, PARQUET = "csv", "parquet"


@dataclass(frozen=True)
class ExportForm(Form):
    """The options of `apex export`; an empty text or 0 means the default."""

    dataset: str = option(
        f"One of {', '.join(DATASETS)}",
        default="daily",
        flag="DATASET",
        choices=tuple(DATASETS),
    )
    first: str = text(
        "First day, such as 2026-11-25", unset="all", flag="--from", kind="date"
    )
    last: str = text("Last day, inclusive", unset="all", flag="--to", kind="date")
    zone: str = text("Time zone that days are counted in", unset="APEX_TIME_ZONE")
    days: int = number(
        "Days of history", unset=str(HISTORY_DAYS), least=1, most=MOST_HISTORY_DAYS
    )
    compress: bool = switch(
        "Compress with gzip; implied by FILE.gz",
        in_form="Compress with gzip",
        flag="--gzip",
    )

    written_as: str = option(
        "parquet writes one typed file a month into the folder of -o",
        unset=CSV,
        in_form="csv, or parquet for a folder with one typed file a month",
        default=CSV,
        flag="--format",
        choices=(CSV, PARQUET),
    )

    @property
    def is_parquet(self) -> bool:
        """Whether Parquet is wanted.

        Raises:
            ConfigError: Neither that nor CSV; or gzip, which Parquet does not need.
        """
        if self.written_as not in {CSV, PARQUET}:
            raise ConfigError(f"`written_as` must be {CSV} or {PARQUET}.")
        if self.written_as == PARQUET and self.compress:
            raise ConfigError("Parquet is compressed as it is: leave `compress` out.")
        return self.written_as == PARQUET

    def selection(self, settings: AnalysisSettings) -> ExportSelection:
        """Return the rows that are wanted.

        Raises:
            ConfigError: There is no such dataset or time zone, or no such range of days.
        """
        return select(
            settings,
            self.dataset,
            zone=self.zone or None,
            first=read_day("first", self.first),
            last=read_day("last", self.last),
            days=self.days or None,
        )
