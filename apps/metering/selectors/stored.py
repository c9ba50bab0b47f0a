"""Finding stored events: by id, by idempotency key, and in slices of a job."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from apps.metering.domain.keys import MILLISECOND, accepted_within, key_hash
from apps.metering.models import ParkedEvent, ParkState

# Events accepted within such a gap of each other are looked up together.
NEAR = timedelta(seconds=1)
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
END = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EventRef:
    """Where an event is: its key alone finds it slowly, with type and moment there is an index."""

    key: int
    public_id: str
    idempotency_key: str
    event_type: str
    occurred_at: datetime
    subject_id: int
    source: str


COLUMNS = "id, public_id, idempotency_key, event_type, occurred_at, subject_id, source"


def find_by_ids(*, organization_id: int, event_ids: Iterable[str]) -> dict[str, EventRef]:
    """Give stored events by their ids; unknown ones are left out."""
    moments = {event_id: within for event_id in event_ids if (within := accepted_within(event_id)) is not None}
    # One that was parked went on its way when it was released, later than its id tells.
    released = ParkedEvent.objects.filter(
        organization_id=organization_id, public_id__in=list(moments), state=ParkState.RELEASED
    )
    for event_id, at in released.values_list("public_id", "settled_at"):
        assert at is not None  # a law of the table
        moments[event_id] = (at, at + MILLISECOND)
    return _find(organization_id, moments)


def find_by_keys(*, organization_id: int, keys: Iterable[str]) -> dict[str, EventRef]:
    """Give stored events by their idempotency keys; unknown ones are left out."""
    hashes = [key_hash(organization_id, key) for key in keys]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT public_id, accepted_at FROM metering_key
            WHERE organization_id = %s AND key_hash = ANY(%s::uuid[])
            """,
            [organization_id, hashes],
        )
        moments = {public_id: (at, at + MILLISECOND) for public_id, at in cursor.fetchall()}
    return {ref.idempotency_key: ref for ref in _find(organization_id, moments).values()}


def _find(organization_id: int, moments: Mapping[str, tuple[datetime, datetime]]) -> dict[str, EventRef]:
    found: dict[str, EventRef] = {}
    with connection.cursor() as cursor:
        for ids, low, high in _clusters(moments):
            cursor.execute(
                f"""
                SELECT {COLUMNS} FROM metering_event
                WHERE organization_id = %s AND accepted_at >= %s AND accepted_at < %s AND public_id = ANY(%s)
                """,
                [organization_id, low, high, ids],
            )
            found |= {row[1]: EventRef(*row) for row in cursor.fetchall()}
    return found


def _clusters(
    moments: Mapping[str, tuple[datetime, datetime]],
) -> list[tuple[list[str], datetime, datetime]]:
    """Group ids by the stretch of time in which their events were accepted."""
    clusters: list[tuple[list[str], datetime, datetime]] = []
    for event_id, (low, high) in sorted(moments.items(), key=lambda item: item[1]):
        if clusters and low - clusters[-1][2] < NEAR:
            ids, first, _ = clusters.pop()
        else:
            ids, first = [], low
        ids.append(event_id)
        clusters.append((ids, first, high))
    return clusters


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which stored events a job goes through: of one type or of all, in `[start, end)`, accepted before a moment."""

    organization_id: int
    event_type: str
    start: datetime | None
    end: datetime | None
    accepted_before: datetime


Position = tuple[str, datetime, int]
FIRST: Position = ("", BEGINNING, 0)


def next_events(stretch: Stretch, *, after: Position, limit: int) -> list[EventRef]:
    """Give the next events of a stretch, ordered by type, moment and key."""
    where, values = _clause(stretch)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {COLUMNS} FROM metering_event WHERE {where} AND (event_type, occurred_at, id) > (%s, %s, %s)
            ORDER BY event_type, occurred_at, id LIMIT %s
            """,
            [*values, *after, limit],
        )
        return [EventRef(*row) for row in cursor.fetchall()]


def count_events(stretch: Stretch) -> int:
    """Count the events of a stretch."""
    where, values = _clause(stretch)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM metering_event WHERE {where}", values)
        return int(cursor.fetchone()[0])


def _clause(stretch: Stretch) -> tuple[str, list[Any]]:
    clauses = ["organization_id = %s", "occurred_at >= %s", "occurred_at < %s", "accepted_at < %s"]
    values: list[Any] = [
        stretch.organization_id,
        stretch.start or BEGINNING,
        stretch.end or END,
        stretch.accepted_before,
    ]
    if stretch.event_type:
        clauses.append("event_type = %s")
        values.append(stretch.event_type)
    return " AND ".join(clauses), values


def voided_ids(*, organization_id: int, event_ids: Sequence[str]) -> set[str]:
    """Give which of some events are voided."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT event_id FROM metering_eventvoid WHERE organization_id = %s AND event_id = ANY(%s)",
            [organization_id, list(event_ids)],
        )
        return {row[0] for row in cursor.fetchall()}


def find_external_subjects(*, organization_id: int, value: str) -> list[int]:
    """Give the subject of a merchant's own id for a customer; empty when no event named it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM metering_subject WHERE organization_id = %s AND is_external AND value = %s",
            [organization_id, value],
        )
        return [row[0] for row in cursor.fetchall()]


def has_events_in_month(*, organization_id: int, moment: datetime) -> bool:
    """Tell whether a merchant has stored events in the month (UTC) of a moment.

    Where there are windows and none at all, the events were dropped rather than lost, and windows are all there is.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (
                SELECT FROM metering_event WHERE organization_id = %(organization)s
                AND occurred_at >= date_trunc('month', %(moment)s::timestamptz, 'UTC')
                AND occurred_at < date_trunc('month', %(moment)s::timestamptz, 'UTC') + interval '1 month'
            )
            """,
            {"organization": organization_id, "moment": moment},
        )
        return bool(cursor.fetchone()[0])
