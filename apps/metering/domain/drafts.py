"""An event on its way in: read, checked, and turned into what it counts for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an event is refused."""

    code: str
    field: str
    message: str


@dataclass(slots=True)
class EventDraft:
    """A well-formed event before it is written.

    Attributes:
        effects: per metric (metric key, canonical group values or None, quantity, hash of the raw value or None).
        ignored_by: public ids of metrics that cannot use it, with the reason.
    """

    event_type: str
    source: str
    subject: str
    is_external: bool
    external_subject: str
    data: Mapping[str, Any]
    occurred_at: datetime
    idempotency_key: str
    external_id: str
    public_id: str
    effects: list[tuple[int, str | None, Decimal, str | None]] = field(default_factory=list)
    ignored_by: list[tuple[str, str]] = field(default_factory=list)
