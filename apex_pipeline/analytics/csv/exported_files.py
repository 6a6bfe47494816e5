"""What was written into the folder of exports, held against the database."""

from dataclasses import dataclass
from datetime import date

from apex_pipeline.analytics.csv.csv_datasets import Dataset
from apex_pipeline.analytics.csv.csv_files import Written


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A written file.

    Attributes:
        label: The day, or the first day of the week; None for a current view, or a
            month.
        name: The file within the store of exports.
        place: Path or URL of the file.
        rows_in_table: Rows in the database.
        rows_read_back: Rows that a reader finds in the file.
    """

    dataset: Dataset
    label: date | None
    name: str
    place: str
    written: Written
    rows_in_table: int
    rows_read_back: int

    @property
    def is_right(self) -> bool:
        """Whether the file holds as many rows as the database."""
        return self.written.rows == self.rows_in_table == self.rows_read_back
