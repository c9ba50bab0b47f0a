from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import connection

from apps.organizations.models import Organization

# What tells the numbers of a kind from those of invoices.
MARKS = {"credit_note": "-CN"}


def next_number(*, organization: Organization, as_of: datetime, kind: str = "invoice", count: int = 1) -> list[str]:
    """Take the next document numbers of an organization's series, `PREFIX-YYYY-000001`.

    Credit notes have `PREFIX-CN-YYYY-000001`.

    The counter's row stays locked until the caller's transaction ends, and a rollback gives the numbers back:
    that is what makes them gapless. Take them last, so that others wait briefly.

    Args:
        organization: the issuer; its zone decides the year.
        as_of: the moment of issue.
        kind: what is numbered; each kind counts for itself.
        count: how many to take.
    """
    year = as_of.astimezone(ZoneInfo(organization.timezone)).year
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO invoicing_numberseries (organization_id, kind, prefix, year, last_number)
            VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (organization_id, kind, prefix, year)
            DO UPDATE SET last_number = invoicing_numberseries.last_number + excluded.last_number
            RETURNING last_number
            """,
            [organization.pk, kind, organization.invoice_prefix, year, count],
        )
        last = cursor.fetchone()[0]
    prefix = organization.invoice_prefix + MARKS.get(kind, "")
    return [f"{prefix}-{year}-{n:06d}" for n in range(last - count + 1, last + 1)]
