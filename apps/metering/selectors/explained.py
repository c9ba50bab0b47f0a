"""Events with what became of each, and why: for those who ask where their usage is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Q

from apps.catalog.models import BillableMetric
from apps.kernel.time import format_instant
from apps.metering.models import DeadLetter, EventConflict, Subject
from apps.metering.selectors.events import counted_events
from apps.metering.selectors.usage import customers_of_subjects


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events of a metric are asked about; subjects None means everybody's."""

    metric: BillableMetric
    start: datetime
    end: datetime
    subjects: Sequence[int] | None
    limit: int


@dataclass(frozen=True, slots=True)
class ExplainedEvent:
    """An event and what became of it.

    Attributes:
        at: when it happened; for events without a time of their own, when they were found.
        quantity: what it adds to the metric, None where it adds nothing.
        why: the reason of its state, in a sentence.
    """

    at: datetime
    event_id: str
    key: str
    subject: str
    quantity: Decimal | None
    why: str
    data: Any


def _counted(query: EventQuery) -> list[ExplainedEvent]:
    metric = query.metric
    rows = counted_events(metric=metric, start=query.start, end=query.end, subjects=query.subjects)
    events = list(rows[: query.limit])
    ids = {event.subject_id for event in events}
    names = dict(Subject.objects.filter(pk__in=ids).values_list("pk", "value"))
    names |= customers_of_subjects(organization_id=metric.organization_id, subject_ids=sorted(ids))
    return [
        ExplainedEvent(
            at=event.occurred_at,
            event_id=event.public_id,
            key=event.idempotency_key,
            subject=names.get(event.subject_id, ""),
            quantity=event.quantities[event.metrics.index(metric.pk)],
            why=f"Counted once, accepted {format_instant(event.accepted_at.replace(microsecond=0))}.",
            data=event.data,
        )
        for event in events
    ]


def _conflicts(query: EventQuery) -> list[ExplainedEvent]:
    rows = EventConflict.objects.filter(
        organization_id=query.metric.organization_id,
        content__type=query.metric.event_type,
        detected_at__gte=query.start,
        detected_at__lt=query.end,
    ).order_by("-id")[: query.limit]
    return [
        ExplainedEvent(
            at=conflict.detected_at,
            event_id=conflict.first_event_id,
            key=conflict.idempotency_key,
            subject="",
            quantity=None,
            why=f"Not counted: the key belongs to {conflict.first_event_id}, which says something else.",
            data=conflict.content.get("data"),
        )
        for conflict in rows
    ]


def _refused(query: EventQuery) -> list[ExplainedEvent]:
    rows = DeadLetter.objects.filter(
        Q(payload__billableMetricId=query.metric.public_id) | Q(payload__type=query.metric.event_type),
        organization_id=query.metric.organization_id,
        created_at__gte=query.start,
        created_at__lt=query.end,
    ).order_by("-id")[: query.limit]
    return [
        ExplainedEvent(
            at=letter.created_at,
            event_id=letter.payload.get("eventId") or letter.payload.get("id") or "",
            key=letter.payload.get("idempotencyKey") or "",
            subject="",
            quantity=None,
            why=f"Not counted: {letter.message}" + (" (dealt with)" if letter.resolved_at else ""),
            data=letter.payload.get("data"),
        )
        for letter in rows
    ]


@dataclass(frozen=True, slots=True)
class EventState:
    """A state that events can be in: what it is called, what it means, and how its events are found."""

    label: str
    meaning: str
    find: Callable[[EventQuery], list[ExplainedEvent]]


# A new state adds its line here; screens show all of them.
STATES: dict[str, EventState] = {
    "counted": EventState("Counted", "By when they happened, the newest first.", _counted),
    "conflict": EventState(
        "Key conflicts",
        "Of all customers, by when they were found: the same key with other content. A repeat with the same content"
        " changes nothing and leaves no trace.",
        _conflicts,
    ),
    "refused": EventState(
        "Dead letters", "Of all customers, by when they were found: accepted, and of no use to this metric.", _refused
    ),
}


def explained_events(*, state: str, query: EventQuery) -> list[ExplainedEvent]:
    """Give the newest events in a state.

    Raises:
        KeyError: there is no such state.
    """
    return STATES[state].find(query)
