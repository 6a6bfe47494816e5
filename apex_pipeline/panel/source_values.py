"""What the panel's sources give, and how often each is read."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from apex_pipeline.analytics.forecast.latest_forecast import Outlook
from apex_pipeline.analytics.rollups.costliest_campaigns import CampaignCost
from apex_pipeline.analytics.rollups.history import HistoryDay
from apex_pipeline.monitoring.status import Status
from apex_pipeline.panel.cache import CacheTiming


@dataclass(frozen=True, slots=True)
class Health:
    """The state of the sync, and when it was read."""

    as_of: datetime
    status: Status


@dataclass(frozen=True, slots=True)
class History:
    """The history of some days in the business's time zone, and what cost most then."""

    as_of: datetime
    time_zone: str
    days: tuple[HistoryDay, ...]
    campaigns: tuple[CampaignCost, ...] = ()


@dataclass(frozen=True, slots=True)
class CostOutlook:
    """The newest forecast in the business's time zone; None if there is none yet."""

    time_zone: str
    outlook: Outlook | None


@dataclass(frozen=True, slots=True)
class Recent:
    """The newest records of Dataverse, and when they were read."""

    as_of: datetime
    records: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class DataverseUse:
    """This process's requests to Dataverse; see `Sender` and `TokenSource`."""

    requests: int = 0
    token_hits: int = 0
    token_misses: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """How often each source is read at most."""

    dataverse: CacheTiming = field(default_factory=CacheTiming)
    health: CacheTiming = field(
        default_factory=lambda: CacheTiming(fresh=5.0, limit=6.0, longest_pause=30.0)
    )
    history: CacheTiming = field(
        default_factory=lambda: CacheTiming(fresh=60.0, stale=600.0, limit=6.0)
    )
