from decimal import Decimal

from apps.catalog.models import PriceRevision
from apps.invoicing.domain.taxes import tax_rate_for
from apps.invoicing.models import Invoice


def rate_of(invoice: Invoice, revision: PriceRevision | None) -> Decimal:
    """Give the tax percent of a line of an invoice; without a price it is the plan's."""
    subscription = invoice.subscription
    metric = revision.metric if revision is not None else None
    return tax_rate_for(
        is_exempt=subscription.tax_exempt,
        is_in_scope=revision is None or revision.supply_scope == "IN_SCOPE",
        customer_rates=invoice.customer.tax_rates,
        metric_public_id=metric.public_id if metric is not None else None,
        plan_public_id=subscription.plan.public_id,
        plan_rate=subscription.plan.default_tax_rate,
    )
