from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import InvoiceLine


def target_of(line: InvoiceLine) -> TargetLine:
    """Give a stored line as one that is worked out."""
    return TargetLine(
        kind=line.kind,
        reference=line.reference,
        display_name=line.display_name,
        description=line.description,
        payment_term=line.payment_term,
        period_start=line.period_start,
        period_end=line.period_end,
        quantity=line.quantity,
        unit_price=line.unit_price,
        gross=line.gross,
        tax_rate=line.tax_rate,
        treatment=line.decision,
        price_revision_id=line.price_revision_id,
        provenance=line.provenance,
    )
