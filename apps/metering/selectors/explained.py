"""Events with what became of each, and why: for those who ask where their usage is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Model, Q

from apps.catalog.models import BillableMetric
from apps.kernel.time import format_instant
from apps.metering.models import DeadLetter, EventConflict, EventVoid, MeterEvent, ParkedEvent, ParkState, Subject
from apps.metering.selectors.events import counted_events, voided_events
from apps.metering.selectors.links import SubjectSpan, owners_at, spans_filter


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events of a metric are asked about; subjects None means everybody's."""

    metric: BillableMetric
    start: datetime
    end: datetime
    subjects: Sequence[SubjectSpan] | None
    limit: int


@dataclass(frozen=True, slots=True)
class ExplainedEvent:
    """An event and what became of it.

    Attributes:
        row: key of the row that says more, in the table of its state.
        at: when it happened; for events without a time of their own, when they were found.
        quantity: what it adds to the metric, None where it adds nothing.
        why: the reason of its state, in a sentence.
    """

    row: int
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
    names = _names(metric.organization_id, [(event.subject_id, event.occurred_at) for event in events])
    return [
        ExplainedEvent(
            row=event.pk,
            at=event.occurred_at,
            event_id=event.public_id,
            key=event.idempotency_key,
            subject=names[event.subject_id, event.occurred_at],
            quantity=event.quantities[event.metrics.index(metric.pk)],
            why=f"Counted once, accepted {format_instant(event.accepted_at.replace(microsecond=0))}.",
            data=event.data,
        )
        for event in events
    ]


def _voided(query: EventQuery) -> list[ExplainedEvent]:
    metric = query.metric
    rows = voided_events(metric=metric, start=query.start, end=query.end, subjects=query.subjects)
    voids = list(rows.select_related("voided_by")[: query.limit])
    names = _names(metric.organization_id, [(void.subject_id, void.occurred_at) for void in voids])
    return [
        ExplainedEvent(
            row=void.pk,
            at=void.occurred_at,
            event_id=void.event_id,
            key=void.idempotency_key,
            subject=names[void.subject_id, void.occurred_at],
            quantity=void.quantities[void.metrics.index(metric.pk)],
            why=f"Not counted any more: voided by {void.voided_by},"
            f" {format_instant(void.voided_at.replace(microsecond=0))}: {void.reason}",
            data=None,
        )
        for void in voids
    ]


def _parked(query: EventQuery) -> list[ExplainedEvent]:
    metric = query.metric
    rows = ParkedEvent.objects.filter(
        organization_id=metric.organization_id,
        state=ParkState.PARKED,
        event_type=metric.event_type,
        occurred_at__gte=query.start,
        occurred_at__lt=query.end,
    )
    if query.subjects is not None:
        rows = rows.filter(spans_filter(query.subjects))
    events = list(rows.order_by("-occurred_at", "-id")[: query.limit])
    names = _names(metric.organization_id, [(event.subject_id, event.occurred_at) for event in events])
    return [
        ExplainedEvent(
            row=event.pk,
            at=event.occurred_at,
            event_id=event.public_id,
            key=event.idempotency_key,
            subject=names[event.subject_id, event.occurred_at],
            quantity=None,
            why=f"Not counted before someone releases it: {event.get_reason_display().lower()},"
            f" accepted {format_instant(event.accepted_at.replace(microsecond=0))}.",
            data=event.data,
        )
        for event in events
    ]


def _names(organization_id: int, moments: Sequence[tuple[int, datetime]]) -> dict[tuple[int, datetime], str]:
    """Give who each subject was at a moment: its customer's id, else the name that the event carries."""
    values = dict(Subject.objects.filter(pk__in={subject for subject, _ in moments}).values_list("pk", "value"))
    owners = owners_at(organization_id=organization_id, moments=moments)
    return {moment: owners.get(moment, values.get(moment[0], "")) for moment in moments}


def _conflicts(query: EventQuery) -> list[ExplainedEvent]:
    rows = EventConflict.objects.filter(
        organization_id=query.metric.organization_id,
        content__type=query.metric.event_type,
        detected_at__gte=query.start,
        detected_at__lt=query.end,
    ).order_by("-id")[: query.limit]
    return [
        ExplainedEvent(
            row=conflict.pk,
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
            row=letter.pk,
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
    """A state that events can be in: what it is called and means, and where and how its events are found."""

    label: str
    meaning: str
    model: type[Model]
    find: Callable[[EventQuery], list[ExplainedEvent]]


# A new state adds its line here; screens show all of them.
STATES: dict[str, EventState] = {
    "counted": EventState("Counted", "By when they happened, the newest first.", MeterEvent, _counted),
    "voided": EventState("Voided", "By when they happened; they count for nothing any more.", EventVoid, _voided),
    "parked": EventState(
        "Parked", "By when they say they happened: of odd timing, to be released or discarded.", ParkedEvent, _parked
    ),
    "conflict": EventState(
        "Key conflicts",
        "Of all customers, by when they were found: the same key with other content. A repeat with the same content"
        " changes nothing and leaves no trace.",
        EventConflict,
        _conflicts,
    ),
    "refused": EventState(
        "Dead letters",
        "Of all customers, by when they were found: accepted, and of no use to this metric.",
        DeadLetter,
        _refused,
    ),
}


def explained_events(*, state: str, query: EventQuery) -> list[ExplainedEvent]:
    """Give the newest events in a state.

    Raises:
        KeyError: there is no such state.
    """
    return STATES[state].find(query)
