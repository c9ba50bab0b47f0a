"""What lines keep of their taxes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice
from apps.taxes.services.treatments import keep_treatments

TAX_COLUMNS = ("tax_rate", "tax_amount", "tax_treatment", "tax_parts")
TaxColumns = Callable[[Invoice, TargetLine], tuple[Any, ...]]


def tax_columns(invoices: Sequence[Invoice], lines: Mapping[int, Sequence[TargetLine]]) -> TaxColumns:
    """Keep the decisions about the taxes of lines, and give what is in a line's `TAX_COLUMNS` (caller's transaction).

    Each decision is kept once; where none was made by a registration, nothing is asked of the database.
    """
    keys = keep_treatments(
        (invoice.organization_id, line.treatment)
        for invoice in invoices
        for line in lines[invoice.pk]
        if line.treatment is not None
    )

    def columns(invoice: Invoice, line: TargetLine) -> tuple[Any, ...]:
        treatment = line.treatment
        return (
            line.tax_rate,
            line.tax_amount,
            keys[invoice.organization_id, treatment] if treatment is not None else None,
            # One rate's tax is the line's.
            list(line.tax_parts) if len(line.tax_parts) > 1 else None,
        )

    return columns
