from collections.abc import Mapping
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from apps.metering.models import ParkedEvent, Subject


def parked_events(*, organization_id: int, filters: Mapping[str, Any] | None = None) -> QuerySet[ParkedEvent]:
    """Give a merchant's parked events, newest first, with what each names as its customer.

    Args:
        filters: any of state, reason, type, source, idempotencyKey, subject, externalSubject, from, to (of the
            time they tell of, half-open).
    """
    rows = ParkedEvent.objects.filter(organization_id=organization_id).order_by("-pk")
    columns = {
        "state": "state",
        "reason": "reason",
        "type": "event_type",
        "source": "source",
        "idempotencyKey": "idempotency_key",
        "from": "occurred_at__gte",
        "to": "occurred_at__lt",
    }
    given = filters or {}
    rows = rows.filter(**{columns[name]: value for name, value in given.items() if name in columns})
    for name, is_external in (("subject", False), ("externalSubject", True)):
        if name in given:
            named = Subject.objects.filter(
                organization_id=organization_id, is_external=is_external, value=given[name]
            )
            rows = rows.filter(subject_id__in=list(named.values_list("pk", flat=True)))
    return rows


def with_names(rows: QuerySet[ParkedEvent]) -> QuerySet[ParkedEvent]:
    """Add `subject_name` and `subject_is_external` to parked events."""
    subject = Subject.objects.filter(pk=OuterRef("subject_id"))
    return rows.annotate(
        subject_name=Subquery(subject.values("value")[:1]),
        subject_is_external=Subquery(subject.values("is_external")[:1]),
    )
