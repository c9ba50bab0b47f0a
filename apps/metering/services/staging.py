"""Accepted means committed: drafts become staged rows in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection, transaction

from apps.kernel.money import format_decimal
from apps.metering.domain.drafts import EventDraft, Problem
from apps.metering.models import DeadLetter
from apps.metering.services.drafting import content_text, draft_event
from apps.metering.services.interning import (
    DimensionName,
    SubjectName,
    digest_of,
    intern_dimensions,
    intern_subjects,
)

BUCKETS = 16
COLUMNS = (
    "bucket, organization_id, key_hash, content_hash, public_id, idempotency_key, event_type, source, subject_id,"
    " external_id, occurred_at, accepted_at, data, effects"
)

# Exact numbers in, exact numbers out: a float would change what the customer sent.
_encoder = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the index-th event of a batch was not taken."""

    index: int
    idempotency_key: str
    problem: Problem


@dataclass(slots=True)
class Verdicts:
    """What became of a batch.

    Attributes:
        accepted: drafts that are committed, with their index, in order.
        repeated: events of a key that stood earlier in the very batch, with the same content.
        rejected: one entry per problem.
    """

    accepted: list[tuple[int, EventDraft]] = field(default_factory=list)
    repeated: int = 0
    rejected: list[Rejection] = field(default_factory=list)


def accept_events(
    raw_events: Sequence[Any], *, organization_id: int, organization_public_id: str, as_of: datetime
) -> Verdicts:
    """Check events and commit the good ones to staging; n events in, one verdict each.

    Args:
        raw_events: decoded JSON values.
        organization_id: the merchant.
        organization_public_id: its id on the wire.
        as_of: moment of acceptance, and the time of events that name none.
    """
    verdicts = Verdicts()
    seen: dict[str, str] = {}
    for index, raw in enumerate(raw_events):
        outcome = draft_event(
            raw,
            organization_id=organization_id,
            organization_public_id=organization_public_id,
            as_of=as_of,
        )
        if isinstance(outcome, list):
            key = raw.get("idempotencyKey") if isinstance(raw, dict) else None
            key = key if isinstance(key, str) else ""
            verdicts.rejected.extend(Rejection(index, key, problem) for problem in outcome)
            continue
        content = content_text(outcome)
        if seen.get(outcome.idempotency_key) == content:
            verdicts.repeated += 1
            continue
        # The same key with other content goes on: the merge keeps the first and reports this one.
        seen.setdefault(outcome.idempotency_key, content)
        verdicts.accepted.append((index, outcome))
    stage([draft for _, draft in verdicts.accepted], organization_id=organization_id, as_of=as_of)
    return verdicts


def stage(drafts: Sequence[EventDraft], *, organization_id: int, as_of: datetime) -> None:
    """Commit drafts to staging; when this returns they are safe."""
    if not drafts:
        return
    with transaction.atomic():
        rows = _rows(drafts, organization_id, as_of)
        with connection.cursor() as cursor:
            if len(rows) == 1:
                marks = ", ".join(["%s"] * len(rows[0]))
                cursor.execute(f"INSERT INTO metering_stagedevent ({COLUMNS}) VALUES ({marks})", rows[0])
            else:
                with cursor.copy(f"COPY metering_stagedevent ({COLUMNS}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
        letters = [letter for draft in drafts for letter in _letters(draft, organization_id, as_of)]
        if letters:
            DeadLetter.objects.bulk_create(letters)


def key_hash(organization_id: int, key: str) -> Any:
    """Give the 128-bit hash under which a key is remembered."""
    return digest_of(str(organization_id), key)


def _rows(drafts: Sequence[EventDraft], organization_id: int, as_of: datetime) -> list[tuple[Any, ...]]:
    subject_names: list[SubjectName] = [(organization_id, draft.is_external, draft.subject) for draft in drafts]
    subjects = intern_subjects(subject_names)
    dimension_names: set[DimensionName] = {
        (organization_id, metric_id, group)
        for draft in drafts
        for metric_id, group, _, _ in draft.effects
        if group is not None
    }
    dimensions = intern_dimensions(dimension_names)
    rows: list[tuple[Any, ...]] = []
    for draft, subject_name in zip(drafts, subject_names, strict=True):
        hashed = key_hash(organization_id, draft.idempotency_key)
        effects = [
            {
                "m": metric_id,
                "d": None if group is None else dimensions[organization_id, metric_id, group],
                "v": format_decimal(value),
                "h": value_hash,
            }
            for metric_id, group, value, value_hash in draft.effects
        ]
        rows.append(
            (
                hashed.int % BUCKETS,
                organization_id,
                hashed,
                digest_of(content_text(draft)),
                draft.public_id,
                draft.idempotency_key,
                draft.event_type,
                draft.source,
                subjects[subject_name],
                draft.external_id,
                draft.occurred_at,
                as_of,
                _encoder.encode(draft.data).decode(),
                _encoder.encode(effects).decode(),
            )
        )
    return rows


def _letters(draft: EventDraft, organization_id: int, as_of: datetime) -> list[DeadLetter]:
    return [
        DeadLetter(
            organization_id=organization_id,
            stage="metric",
            code="METRIC_IGNORED_EVENT",
            message=f"{metric}: {reason}",
            payload={"eventId": draft.public_id, "billableMetricId": metric},
            created_at=as_of,
        )
        for metric, reason in draft.ignored_by
    ]
