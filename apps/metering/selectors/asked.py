"""What a meter question is about, found in one round trip: the metric and the subjects of the customer."""

import json
from dataclasses import dataclass

from django.db import connection

from apps.catalog.models import BillableMetric
from apps.metering.selectors.links import NAMED_SUBJECTS, SubjectSpan

FIELDS = ("id", "public_id", "organization_id", "mode", "aggregation", "group_by")
ASKED = f"""
SELECT metric.id, metric.mode, metric.aggregation, metric.group_by, named.subject, named.since, named.until
FROM catalog_billablemetric AS metric LEFT JOIN ({NAMED_SUBJECTS}) AS named ON true
WHERE metric.organization_id = %(organization)s AND metric.public_id = %(metric)s AND metric.deleted_at IS NULL
ORDER BY named.subject, named.since NULLS FIRST
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A metric, and the subjects of a customer each in its time.

    Attributes:
        metric: has what reading usage needs; a field beyond that is another query.
        subjects: None when no customer was named.
    """

    metric: BillableMetric
    subjects: list[SubjectSpan] | None


def find_asked(*, organization_id: int, metric_public_id: str, customer_public_id: str | None) -> Asked | None:
    """Give a merchant's metric and the subjects that `find_customer_subjects` gives; None without the metric."""
    with connection.cursor() as cursor:
        cursor.execute(
            ASKED,
            {"organization": organization_id, "metric": metric_public_id, "customer": customer_public_id},
        )
        rows = cursor.fetchall()
    if not rows:
        return None
    pk, mode, aggregation, group_by = rows[0][:4]
    metric = BillableMetric.from_db(
        None, FIELDS, (pk, metric_public_id, organization_id, mode, aggregation, json.loads(group_by))
    )
    if customer_public_id is None:
        return Asked(metric, None)
    return Asked(metric, [SubjectSpan(*row[4:]) for row in rows if row[4] is not None])
