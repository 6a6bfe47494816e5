"""Describe the columns of the files, so readers need not guess their types."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from apex_pipeline.analytics.csv.csv_datasets import Dataset, dataset_columns

# Types of Postgres and of Table Schema; all others are strings.
_TYPES = {
    **dict.fromkeys(("int2", "int4", "int8"), "integer"),
    **dict.fromkeys(("numeric", "float4", "float8"), "number"),
    "bool": "boolean",
    "date": "date",
    "timestamptz": "datetime",
}


_NAMES = b"""
    SELECT coalesce(md5(string_agg(
        md5(campaign_id) || md5(name), '' ORDER BY campaign_id COLLATE "C"
    )), 'none') FROM campaign_name
"""


@dataclass(frozen=True, slots=True)
class CsvField:
    """A column of a file.

    Attributes:
        type: As Table Schema names it.
        description: As the database describes it; None where it does not.
    """

    name: str
    type: str
    description: str | None


def fields(connection: psycopg.Connection[Any], dataset: Dataset) -> list[CsvField]:
    """The columns of a dataset's files, in order.

    Raises:
        SchemaMissingError: The database has no such table or view.
    """
    return [
        CsvField(column.name, _TYPES.get(column.type, "string"), column.description)
        for column in dataset_columns(connection, dataset).values()
    ]


def names_digest(connection: psycopg.Connection[Any]) -> str:
    """A text that is another once a campaign has another name."""
    row = connection.execute(_NAMES).fetchone()
    return str(row[0]) if row else ""


def described_names(description: bytes | None) -> str | None:
    """The digest that a description holds; None where there is none to read."""
    try:
        found = json.loads(description or b"")["campaign_names"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(found)


def package(
    connection: psycopg.Connection[Any], paths: Mapping[Dataset, str], zone: str
) -> bytes:
    """Describe files as JSON: a Data Package, each of its resources with a Table Schema.

    Args:
        connection: Where the tables and views are.
        paths: The files of each dataset, from the folder of the description.
        zone: The time zone in which days and weeks begin and end in all of them.

    Raises:
        SchemaMissingError: The database has no such table or view.
    """
    described = {
        "name": "apex-campaign-metrics",
        "time_zone": zone,
        "campaign_names": names_digest(connection),
        "resources": [
            {
                "name": dataset.name,
                "path": path,
                "format": "csv",
                "encoding": "utf-8",
                "schema": {
                    "fields": [
                        {
                            "name": field.name,
                            "type": field.type,
                            "description": field.description or "",
                        }
                        for field in fields(connection, dataset)
                    ],
                    "missingValues": [""],
                },
            }
            for dataset, path in paths.items()
        ],
    }
    return (
        json.dumps(described, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()
