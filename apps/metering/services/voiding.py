"""Voiding events: they stay as they came, count for nothing, and an audit row says who did it and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from apps.kernel.errors import FieldError, InvalidError
from apps.metering.models import EventVoid, VoidJob
from apps.metering.selectors.links import SubjectSpan, find_customer_subjects
from apps.metering.selectors.stored import (
    EventRef,
    find_by_ids,
    find_by_keys,
    find_external_subjects,
    voided_ids,
)
from apps.metering.services.effects import clear_effects, hold_events
from apps.metering.services.merge import drain
from apps.metering.services.recompute import recompute_windows

REASON_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class NamedVoid:
    """What became of one named event: `voided`, `already_voided` or `unknown`; its id where it is known."""

    name: str
    outcome: str
    event_id: str


@transaction.atomic
def void_events(
    *,
    organization_id: int,
    refs: Sequence[EventRef],
    reason: str,
    user_id: int,
    as_of: datetime,
    job: VoidJob | None = None,
) -> set[str]:
    """Void stored events: their windows follow in the same transaction. Voiding again changes nothing.

    Returns:
        Ids of the events that this call voided.

    Raises:
        InvalidError: no reason is given.
    """
    reason = checked_reason(reason)
    held = hold_events(organization_id=organization_id, refs=refs)
    # Read after the events are locked: whoever voided one of them meanwhile has committed.
    known = voided_ids(organization_id=organization_id, event_ids=[event.public_id for event in held])
    fresh = [event for event in held if event.public_id not in known]
    EventVoid.objects.bulk_create(
        EventVoid(
            organization_id=organization_id,
            event_id=event.public_id,
            idempotency_key=event.idempotency_key,
            event_type=event.event_type,
            subject_id=event.subject_id,
            occurred_at=event.occurred_at,
            reason=reason,
            voided_by_id=user_id,
            voided_at=as_of,
            job=job,
            metrics=list(event.effects),
            quantities=[effect.quantity for effect in event.effects.values()],
        )
        for event in fresh
    )
    clear_effects(fresh)
    recompute_windows(windows={window for event in fresh for window in event.windows()})
    return {event.public_id for event in fresh}


def void_named(
    *,
    organization_id: int,
    event_ids: Sequence[str] = (),
    keys: Sequence[str] = (),
    reason: str,
    user_id: int,
    as_of: datetime,
) -> list[NamedVoid]:
    """Void events named by id or by idempotency key; n names in, n outcomes out, same order, ids first.

    What is accepted and not merged yet is merged first.
    """
    checked_reason(reason)
    by_id, by_key = _named(organization_id, event_ids, keys)
    if len(by_id) < len(set(event_ids)) or len(by_key) < len(set(keys)):
        drain()
        by_id, by_key = _named(organization_id, event_ids, keys)
    refs = {ref.public_id: ref for ref in (*by_id.values(), *by_key.values())}
    voided = void_events(
        organization_id=organization_id, refs=list(refs.values()), reason=reason, user_id=user_id, as_of=as_of
    )

    def outcome(name: str, ref: EventRef | None) -> NamedVoid:
        if ref is None:
            return NamedVoid(name, "unknown", "")
        return NamedVoid(name, "voided" if ref.public_id in voided else "already_voided", ref.public_id)

    return [
        *(outcome(event_id, by_id.get(event_id)) for event_id in event_ids),
        *(outcome(key, by_key.get(key)) for key in keys),
    ]


@transaction.atomic
def start_void_job(
    *,
    organization_id: int,
    reason: str,
    user_id: int,
    as_of: datetime,
    event_type: str = "",
    source: str = "",
    subject: str = "",
    external_subject: str = "",
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> VoidJob:
    """Ask that every event a filter names, accepted until now, is voided; the work itself is `run_void_job`.

    Raises:
        InvalidError: the reason or the filter is empty, or the interval is reversed.
    """
    reason = checked_reason(reason)
    if not (event_type or source or subject or external_subject or starts_at or ends_at):
        message = "Name at least one of type, source, subject, externalSubject, from and to."
        raise InvalidError(message, errors=[FieldError("filter", message, "required")])
    if starts_at is not None and ends_at is not None and starts_at >= ends_at:
        raise InvalidError("to must be after from.", errors=[FieldError("filter.to", "Must be after from.")])
    return VoidJob.objects.create(
        organization_id=organization_id,
        reason=reason,
        event_type=event_type,
        source=source,
        subject=subject,
        external_subject=external_subject,
        starts_at=starts_at,
        ends_at=ends_at,
        accepted_before=as_of,
        started_by_id=user_id,
    )


def void_slice(job: VoidJob, refs: Sequence[EventRef], as_of: datetime) -> int:
    """Void those events of a slice that a job's filter names (caller's transaction); gives how many."""
    spans = _spans(job)
    own_id = _external_subjects(job)
    matching = [
        ref
        for ref in refs
        if (not job.source or ref.source == job.source)
        and (spans is None or any(span.covers(ref.subject_id, ref.occurred_at) for span in spans))
        and (own_id is None or ref.subject_id in own_id)
    ]
    return len(
        void_events(
            organization_id=job.organization_id,
            refs=matching,
            reason=job.reason,
            user_id=job.started_by_id,
            as_of=as_of,
            job=job,
        )
    )


def checked_reason(reason: str) -> str:
    """Give a reason without surrounding space.

    Raises:
        InvalidError: nothing is left of it, or it is too long.
    """
    text = reason.strip()
    if not 0 < len(text) <= REASON_LENGTH:
        message = f"Say why, in at most {REASON_LENGTH} characters."
        raise InvalidError(message, errors=[FieldError("reason", message, "required")])
    return text


def _spans(job: VoidJob) -> list[SubjectSpan] | None:
    """Give the subjects of the customer a job's filter names, each in its time; None when it names none."""
    if not job.subject:
        return None
    return find_customer_subjects(organization_id=job.organization_id, customer_public_id=job.subject)


def _external_subjects(job: VoidJob) -> set[int] | None:
    """Give the subjects of the own id a job's filter names; None when it names none."""
    if not job.external_subject:
        return None
    return set(find_external_subjects(organization_id=job.organization_id, value=job.external_subject))


def _named(
    organization_id: int, event_ids: Sequence[str], keys: Sequence[str]
) -> tuple[dict[str, EventRef], dict[str, EventRef]]:
    return (
        find_by_ids(organization_id=organization_id, event_ids=event_ids),
        find_by_keys(organization_id=organization_id, keys=keys),
    )
