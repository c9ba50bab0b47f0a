"""Odd timing is never refused: such an event is kept as it came, until someone decides whether it counts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from apps.metering.domain.drafts import EventDraft
from apps.metering.domain.keys import key_hash
from apps.metering.domain.wire import WireEvent
from apps.metering.models import ParkReason
from apps.metering.selectors.timing import Name, live_in_simulated_time, remembered_simulated
from apps.metering.services.interning import intern_dimensions, intern_subjects


@dataclass(frozen=True, slots=True)
class Parked:
    """An event that is put aside: its place in the batch, and why."""

    index: int
    draft: EventDraft
    reason: ParkReason


def odd_timing(
    draft: EventDraft, *, organization_id: int, earliest: datetime, batch: Iterable[Any]
) -> ParkReason | None:
    """Say why an event outside of the accepted interval is put aside; None for one that lives in simulated time.

    Args:
        batch: the raw events of its call; whom all of them name is looked up at once.
    """
    name = (draft.is_external, draft.subject)
    is_simulated = remembered_simulated(organization_id=organization_id, name=name)
    if is_simulated is None:
        names = {name, *(found for raw in batch if (found := _name_of(raw)) is not None)}
        is_simulated = name in live_in_simulated_time(organization_id=organization_id, names=names)
    if is_simulated:
        return None
    return ParkReason.TOO_LATE if draft.occurred_at < earliest else ParkReason.TOO_EARLY


def park(parked: Sequence[Parked], *, organization_id: int, as_of: datetime) -> None:
    """Write events aside; a repeat of one that is aside, or was, changes nothing (caller's transaction)."""
    drafts = [entry.draft for entry in parked]
    subjects = intern_subjects({(organization_id, draft.is_external, draft.subject) for draft in drafts})
    dimensions = intern_dimensions(
        {
            (organization_id, metric_id, *group)
            for draft in drafts
            for metric_id, group in draft.targets.pairs
            if group is not None
        }
    )
    rows = [
        (
            draft.public_id,
            organization_id,
            draft.idempotency_key,
            key_hash(organization_id, draft.idempotency_key),
            draft.content,
            draft.event_type,
            draft.source,
            subjects[organization_id, draft.is_external, draft.subject],
            draft.external_id,
            draft.occurred_at,
            as_of,
            draft.data,
            [metric_id for metric_id, _ in draft.targets.pairs],
            [
                None if group is None else dimensions[organization_id, metric_id, *group]
                for metric_id, group in draft.targets.pairs
            ],
            f"{{{draft.quantities}}}",
            None if draft.hashes is None else f"{{{draft.hashes}}}",
            entry.reason.value,
        )
        for entry, draft in zip(parked, drafts, strict=True)
    ]
    # Ordered, so that two calls with the same keys cannot wait for each other.
    rows.sort(key=lambda row: row[3])
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, rows)


def _name_of(raw: Any) -> Name | None:
    if isinstance(raw, WireEvent):
        own, external = raw.subject, raw.externalSubject
    elif isinstance(raw, dict):
        own, external = raw.get("subject"), raw.get("externalSubject")
    else:
        return None
    name = own or external
    return (not own, name) if isinstance(name, str) else None


_INSERT = """
INSERT INTO metering_parkedevent
    (public_id, organization_id, idempotency_key, key_hash, content_hash, event_type, source, subject_id, external_id,
     occurred_at, accepted_at, data, metrics, dimensions, quantities, hashes, reason, state, settled_by, note)
VALUES (%s, %s, %s, %s::uuid, %s::uuid, %s, %s, %s, %s, %s, %s, %s::jsonb, %s::bigint[], %s::bigint[], %s::numeric[],
        %s::uuid[], %s, 'parked', '', '')
ON CONFLICT (organization_id, key_hash, content_hash) DO NOTHING
"""
