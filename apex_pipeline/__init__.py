"""Carries campaign metrics from Postgres into Microsoft Dataverse."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apex_pipeline.recording import (
        Loaded,
        Recorded,
        record_all_campaign_metrics,
        record_campaign_metrics,
    )

__all__ = [
    "Loaded",
    "Recorded",
    "record_all_campaign_metrics",
    "record_campaign_metrics",
]

__version__ = "0.2.0.dev0"


def __getattr__(name: str) -> object:
    """Load the writer when somebody asks for it: all else here does without it."""
    if name in __all__:
        return getattr(import_module("apex_pipeline.recording"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
