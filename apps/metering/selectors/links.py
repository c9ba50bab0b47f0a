"""Who a subject is: the customer whose id it is, or whose own id it was at the time of the event."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from django.db import connection
from django.db.models import Q

# The subjects of whom a public id names, each in its time. Its own is found by the id alone: events may have come
# before their customer.
NAMED_SUBJECTS = """
    SELECT subject.id AS subject, NULL::timestamptz AS since, NULL::timestamptz AS until
    FROM metering_subject AS subject
    WHERE subject.organization_id = %(organization)s AND NOT subject.is_external AND subject.value = %(customer)s
    UNION ALL
    SELECT subject.id, lower(link.valid), upper(link.valid)
    FROM customers_customer AS customer
    JOIN customers_externalidlink AS link ON link.customer_id = customer.id
    JOIN metering_subject AS subject ON subject.organization_id = link.organization_id
     AND subject.is_external AND subject.value = link.external_id
    WHERE customer.organization_id = %(organization)s AND customer.public_id = %(customer)s
"""


class SubjectSpan(msgspec.Struct, frozen=True):
    """A subject and the half-open time in which it stands for somebody; None is an end without a bound."""

    subject: int
    start: datetime | None = None
    end: datetime | None = None

    def within(self, start: datetime, end: datetime) -> tuple[datetime, datetime] | None:
        """Give the part of an interval that lies in the span; None when there is none."""
        first = start if self.start is None else max(start, self.start)
        last = end if self.end is None else min(end, self.end)
        return (first, last) if first < last else None

    def covers(self, subject: int, at: datetime) -> bool:
        """Whether an event of a subject at a moment belongs to the span."""
        return (
            subject == self.subject
            and (self.start is None or self.start <= at)
            and (self.end is None or at < self.end)
        )


def subjects_of(*, customer_ids: Sequence[int]) -> dict[int, list[SubjectSpan]]:
    """Give, per customer, the subjects its events may carry: its id, and own ids of the merchant while they were its.

    Resolved on every read, so an event may come before its customer and an own id may move to another.
    """
    found: dict[int, list[SubjectSpan]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT customer.id, subject.id AS subject, NULL::timestamptz, NULL::timestamptz
            FROM customers_customer AS customer
            JOIN metering_subject AS subject ON subject.organization_id = customer.organization_id
             AND NOT subject.is_external AND subject.value = customer.public_id
            WHERE customer.id = ANY(%(ids)s)
            UNION ALL
            SELECT link.customer_id, subject.id, lower(link.valid), upper(link.valid)
            FROM customers_externalidlink AS link
            JOIN metering_subject AS subject ON subject.organization_id = link.organization_id
             AND subject.is_external AND subject.value = link.external_id
            WHERE link.customer_id = ANY(%(ids)s)
            ORDER BY 2, 3 NULLS FIRST
            """,
            {"ids": list(customer_ids)},
        )
        for customer_id, subject, start, end in cursor.fetchall():
            found[customer_id].append(SubjectSpan(subject, start, end))
    return found


def find_customer_subjects(*, organization_id: int, customer_public_id: str) -> list[SubjectSpan]:
    """Give the subjects of a customer by its public id; an id nobody has may still name an early event's subject."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT * FROM ({NAMED_SUBJECTS}) AS named ORDER BY subject, since NULLS FIRST",
            {"organization": organization_id, "customer": customer_public_id},
        )
        return [SubjectSpan(subject, start, end) for subject, start, end in cursor.fetchall()]


def owners_at(*, organization_id: int, moments: Iterable[tuple[int, datetime]]) -> dict[tuple[int, datetime], str]:
    """Give the public id of the customer that each subject stood for at a moment; unknown ones are left out."""
    wanted = sorted(set(moments))
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT asked.n, customer.public_id
            FROM unnest(%s::bigint[], %s::timestamptz[]) WITH ORDINALITY AS asked(subject_id, at, n)
            JOIN metering_subject AS subject ON subject.id = asked.subject_id AND subject.organization_id = %s
            LEFT JOIN customers_externalidlink AS link ON subject.is_external
             AND link.organization_id = subject.organization_id AND link.external_id = subject.value
             AND link.valid @> asked.at
            JOIN customers_customer AS customer ON customer.organization_id = subject.organization_id
             AND (customer.id = link.customer_id OR (NOT subject.is_external AND customer.public_id = subject.value))
            """,
            [[subject for subject, _ in wanted], [at for _, at in wanted], organization_id],
        )
        return {wanted[n - 1]: public_id for n, public_id in cursor.fetchall()}


def moved_spans(*, organization_id: int, start: datetime, end: datetime) -> list[tuple[SubjectSpan, str]]:
    """Give the subjects whose owner changes inside an interval, with the owner's public id for each part."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT subject.id, lower(link.valid), upper(link.valid), customer.public_id, subject.value
            FROM customers_externalidlink AS link
            JOIN customers_customer AS customer ON customer.id = link.customer_id
            JOIN metering_subject AS subject ON subject.organization_id = link.organization_id
             AND subject.is_external AND subject.value = link.external_id
            WHERE link.organization_id = %(organization)s AND EXISTS (
                SELECT FROM customers_externalidlink AS moved
                WHERE moved.organization_id = link.organization_id AND moved.external_id = link.external_id
                  AND upper(moved.valid) > %(start)s AND upper(moved.valid) < %(end)s
            )
            ORDER BY 1, 2 NULLS FIRST
            """,
            {"organization": organization_id, "start": start, "end": end},
        )
        rows = cursor.fetchall()
    found = [(SubjectSpan(subject, lower, upper), owner) for subject, lower, upper, owner, _ in rows]
    last = {subject: (upper, value) for subject, _, upper, _, value in rows}
    # Whoever had it last gave it up and nobody has it since: what comes then stands under the own id itself.
    found += [(SubjectSpan(subject, upper), value) for subject, (upper, value) in last.items() if upper is not None]
    return found


def spans_filter(spans: Iterable[SubjectSpan]) -> Q:
    """Give the filter for the events of subjects in their time; without subjects it lets nothing through."""
    chosen = Q(pk__in=[])
    for span in spans:
        own = Q(subject_id=span.subject)
        if span.start is not None:
            own &= Q(occurred_at__gte=span.start)
        if span.end is not None:
            own &= Q(occurred_at__lt=span.end)
        chosen |= own
    return chosen
