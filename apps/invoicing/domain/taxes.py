from collections.abc import Mapping
from decimal import Decimal


def tax_rate_for(
    *,
    is_exempt: bool,
    is_in_scope: bool,
    customer_rates: Mapping[str, object],
    metric_public_id: str | None,
    plan_public_id: str,
    plan_rate: Decimal,
) -> Decimal:
    """Give the percent that applies to a line.

    The first that speaks decides: exemption, a supply outside the scope of tax, the customer's rate for the
    metric, for the plan, its default, then the plan's.
    """
    if is_exempt or not is_in_scope:
        return Decimal(0)
    for key in (metric_public_id, plan_public_id, "default"):
        if key is not None and customer_rates.get(key) is not None:
            return Decimal(str(customer_rates[key]))
    return plan_rate
