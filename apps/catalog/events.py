"""What the catalogue announces."""

from dataclasses import dataclass
from datetime import datetime

from apps.outbox.domain.events import outbox_event


@outbox_event("plan.version_published.v0")
@dataclass(frozen=True, slots=True)
class PlanVersionPublished:
    plan_id: str
    plan_version_id: str
    version_number: int


@outbox_event("plan.default_version_changed.v0")
@dataclass(frozen=True, slots=True)
class PlanDefaultVersionChanged:
    plan_id: str
    plan_version_id: str
    version_number: int


@outbox_event("rate_feed.rates_changed.v0")
@dataclass(frozen=True, slots=True)
class RatesChanged:
    feed_id: str
    count: int
    first_at: datetime
