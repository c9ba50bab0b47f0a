"""Dead letters: dealt with by hand, or tried again after their cause is mended."""

from datetime import datetime
from typing import Any

from django.db import transaction

from apps.catalog.models import BillableMetric
from apps.kernel.errors import ConflictError
from apps.kernel.time import format_instant, parse_instant
from apps.metering.domain.wire import decode
from apps.metering.models import DeadLetter, Subject
from apps.metering.selectors.letters import payload_text
from apps.metering.selectors.registry import forget_metrics
from apps.metering.selectors.stored import find_by_ids, voided_ids
from apps.metering.services.backfilling import recount
from apps.metering.services.drafting import Drafter
from apps.metering.services.staging import stage


def resolve_letter(*, letter_id: int, as_of: datetime) -> int:
    """Mark a dead letter as dealt with; twice is fine."""
    return DeadLetter.objects.filter(pk=letter_id, resolved_at__isnull=True).update(resolved_at=as_of)


@transaction.atomic
def replay_letter(*, letter_id: int, as_of: datetime) -> str:
    """Try again what a dead letter is about, by the metrics' present definitions; twice is fine.

    An event that could not be merged is staged again under its id, key and moment, in the transaction that marks the
    letter; should it fail again, a new letter says so. For a metric that could not use an event, the event is
    counted now.

    Returns:
        What happened, for a person.

    Raises:
        ConflictError: the cause is still there; the letter stays open.
    """
    letter = DeadLetter.objects.select_for_update(of=("self",)).select_related("organization").get(pk=letter_id)
    if letter.resolved_at is not None:
        return "It was dealt with before."
    said = _merge_again(letter, as_of) if letter.stage == "merge" else _count_again(letter, as_of)
    resolve_letter(letter_id=letter_id, as_of=as_of)
    return said


def _count_again(letter: DeadLetter, as_of: datetime) -> str:
    event_id, metric_id = letter.payload["eventId"], letter.payload["billableMetricId"]
    metric = BillableMetric.objects.filter(organization_id=letter.organization_id, public_id=metric_id).first()
    if metric is None or metric.deleted_at is not None:
        raise _refused("The metric is withdrawn; mark the entry as resolved.")
    ref = find_by_ids(organization_id=letter.organization_id, event_ids=[event_id]).get(event_id)
    if ref is None:
        raise _refused("The event is not stored yet, or not any more.")
    if voided_ids(organization_id=letter.organization_id, event_ids=[event_id]):
        raise _refused("The event is voided; mark the entry as resolved.")
    changed, problems = recount(metric=metric, refs=[ref], as_of=as_of)
    if event_id in problems:
        raise _refused(f"The metric still cannot use it: {problems[event_id]}")
    return "The event counts for the metric now." if changed else "The event already counts as the metric says."


def _merge_again(letter: DeadLetter, as_of: datetime) -> str:
    # Exact numbers: the payload as text, not as the driver reads it.
    payload: dict[str, Any] = decode(payload_text(letter_id=letter.pk).encode())
    subject = Subject.objects.filter(pk=payload.get("subjectId", 0), organization_id=letter.organization_id).first()
    if subject is None or "acceptedAt" not in payload:
        raise _refused("The entry does not hold the whole event; send the event again.")
    accepted_at = parse_instant(payload["acceptedAt"])
    # A definition that was mended a moment ago counts.
    forget_metrics()
    drafter = Drafter(
        organization_id=letter.organization_id,
        organization_public_id=letter.organization.public_id,
        as_of=accepted_at,
    )
    drafted = drafter.draft(
        {
            "type": payload["type"],
            "source": payload["source"],
            "externalSubject" if subject.is_external else "subject": subject.value,
            "timestamp": format_instant(parse_instant(payload["timestamp"])),
            "idempotencyKey": payload["idempotencyKey"],
            "externalId": payload.get("externalId") or None,
            "data": payload["data"],
        }
    )
    if isinstance(drafted, list):
        raise _refused(f"It would be refused: {drafted[0].field}: {drafted[0].message}")
    drafted.public_id = payload["id"]
    stage([drafted], organization_id=letter.organization_id, as_of=accepted_at)
    return "The event is accepted again and merged in a moment; should that fail, a new entry says so."


def _refused(message: str) -> ConflictError:
    return ConflictError(message, code="LETTER_NOT_REPLAYED")
