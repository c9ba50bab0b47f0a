"""How much was used: whole hours from windows, the edge hours from raw events."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db import connection

from apps.catalog.models import BillableMetric
from apps.kernel.time import floor_hour
from apps.metering.aggregations import Latest, UniqueCount, UsageState, WeightedSum, get
from apps.metering.selectors.states import UsageRequest, read_levels, read_states, read_uniques


def subjects_of(*, customer_ids: Sequence[int]) -> dict[int, list[int]]:
    """Give, per customer, the subjects its events may carry: its id, and the merchant's own id for it.

    Resolved on every read, so an event may come before its customer and an own id may move to another.
    """
    found: dict[int, list[int]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT customer.id, subject.id
            FROM customers_customer AS customer
            JOIN metering_subject AS subject ON subject.organization_id = customer.organization_id
             AND NOT subject.is_external AND subject.value = customer.public_id
            WHERE customer.id = ANY(%(ids)s)
            UNION ALL
            SELECT customer.id, subject.id
            FROM customers_customer AS customer
            JOIN metering_subject AS subject ON subject.organization_id = customer.organization_id
             AND subject.is_external AND subject.value = customer.external_id
            WHERE customer.id = ANY(%(ids)s)
            ORDER BY 2
            """,
            {"ids": list(customer_ids)},
        )
        for customer_id, subject_id in cursor.fetchall():
            found[customer_id].append(subject_id)
    return found


def customers_of_subjects(*, organization_id: int, subject_ids: Sequence[int]) -> dict[int, str]:
    """Give the public id of the customer that each subject stands for now; unknown ones are left out."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT subject.id, customer.public_id
            FROM metering_subject AS subject
            JOIN customers_customer AS customer ON customer.organization_id = subject.organization_id
             AND NOT subject.is_external AND subject.value = customer.public_id AND customer.deleted_at IS NULL
            WHERE subject.organization_id = %(organization)s AND subject.id = ANY(%(ids)s)
            UNION ALL
            SELECT subject.id, customer.public_id
            FROM metering_subject AS subject
            JOIN customers_customer AS customer ON customer.organization_id = subject.organization_id
             AND subject.is_external AND subject.value = customer.external_id AND customer.deleted_at IS NULL
            WHERE subject.organization_id = %(organization)s AND subject.id = ANY(%(ids)s)
            """,
            {"organization": organization_id, "ids": list(subject_ids)},
        )
        return dict(cursor.fetchall())


def find_customer_subjects(*, organization_id: int, customer_public_id: str) -> list[int]:
    """Give the subjects of a customer by its public id; an id nobody has may still name an early event's subject."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM metering_subject
            WHERE organization_id = %(organization)s AND NOT is_external AND value = %(customer)s
            UNION ALL
            SELECT id FROM metering_subject
            WHERE organization_id = %(organization)s AND is_external AND value = (
                SELECT external_id FROM customers_customer
                WHERE organization_id = %(organization)s AND public_id = %(customer)s
            )
            """,
            {"organization": organization_id, "customer": customer_public_id},
        )
        return [row[0] for row in cursor.fetchall()]


def period_usage(*, requests: Sequence[UsageRequest]) -> list[Decimal | None]:
    """Answer many usage questions with one query a kind; n questions in, n quantities out, same order.

    Returns:
        SUM, COUNT, UNIQUE_COUNT and WEIGHTED_SUM of nothing are 0; AVG, MIN, MAX and LATEST of nothing are None.
    """
    if not requests:
        return []
    kinds = aggregations_of({request.metric_id for request in requests})
    numbered = [(n, request, kinds[request.metric_id]) for n, request in enumerate(requests)]
    plain = [(n, request) for n, request, kind in numbered if kind not in (UniqueCount.CODE, WeightedSum.CODE)]
    states = read_states(plain, with_latest=Latest.CODE in kinds.values())
    states |= read_uniques([(n, request) for n, request, kind in numbered if kind == UniqueCount.CODE])
    states |= read_levels([(n, request) for n, request, kind in numbered if kind == WeightedSum.CODE])
    return [get(kind).of_state(states.get(n, UsageState())) for n, _, kind in numbered]


def usage_changed_since(*, requests: Sequence[UsageRequest], moments: Sequence[datetime]) -> list[bool]:
    """Tell which questions have windows that a merge touched at or after a moment; same order.

    Args:
        requests: the questions.
        moments: one wall-clock moment per question.
    """
    kinds = aggregations_of({request.metric_id for request in requests})
    rows = [
        {
            "n": n,
            "m": request.metric_id,
            "s": subject,
            # A level is made of all that ever was before it.
            "a": None if kinds[request.metric_id] == WeightedSum.CODE else floor_hour(request.start).isoformat(),
            "z": request.end.isoformat(),
            "c": moment.isoformat(),
        }
        for n, (request, moment) in enumerate(zip(requests, moments, strict=True))
        for subject in request.subjects
    ]
    changed = [False] * len(requests)
    if not rows:
        return changed
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT r.n FROM jsonb_to_recordset(%s::jsonb)
                AS r(n int, m bigint, s bigint, a timestamptz, z timestamptz, c timestamptz)
            JOIN metering_window AS w ON w.metric_id = r.m AND w.subject_id = r.s
             AND w.hour >= coalesce(r.a, '-infinity') AND w.hour < r.z AND w.changed_at >= r.c
            """,
            [json.dumps(rows)],
        )
        for (n,) in cursor.fetchall():
            changed[n] = True
    return changed


def aggregations_of(metric_ids: set[int]) -> dict[int, str]:
    """Give the aggregation of each metric."""
    return dict(BillableMetric.objects.filter(pk__in=metric_ids).values_list("pk", "aggregation"))


__all__ = [
    "UsageRequest",
    "aggregations_of",
    "customers_of_subjects",
    "find_customer_subjects",
    "period_usage",
    "subjects_of",
    "usage_changed_since",
]
