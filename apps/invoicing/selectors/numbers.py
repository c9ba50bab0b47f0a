from apps.invoicing.domain.numbers import YEARLY, NumberFormat
from apps.invoicing.models import NumberingFormat
from apps.organizations.models import Organization

# What tells the numbers of a kind from those of invoices, where no format was set.
MARKS = {"credit_note": "-CN"}


def current_format(organization: Organization, kind: str) -> NumberFormat:
    """Give the format of the numbers to come: the one that was set, else `PREFIX-YYYY-000001`, anew each year."""
    row = NumberingFormat.objects.filter(organization=organization, kind=kind, is_current=True).first()
    return default_format(organization, kind) if row is None else NumberFormat(row.text, row.resets)


def default_format(organization: Organization, kind: str) -> NumberFormat:
    mark = MARKS.get(kind, "")
    return NumberFormat(f"{organization.invoice_prefix}{mark}-{{year}}-{{number:06}}", YEARLY)
