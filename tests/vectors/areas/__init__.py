"""One adapter per area: `run(case)` raises Skip, or gives what product code says in the shape of `expected`."""

from collections.abc import Callable
from typing import Any

from tests.vectors.areas import (
    amounts,
    boundaries,
    changes,
    charges,
    credits,
    dates,
    documents,
    early,
    metering,
    pricing,
    rights,
    schedules,
)

AREAS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "charge_standard": charges.standard,
    "charge_graduated": charges.graduated,
    "charge_volume": charges.volume,
    "charge_package": charges.package,
    "charge_percentage": charges.percentage,
    "charge_graduated_percentage": charges.graduated_percentage,
    "charge_dynamic": charges.dynamic,
    "metric_rounding": charges.rounding,
    "agg_basic": metering.basic,
    "agg_sum_prorated": metering.prorated_sum,
    "agg_weighted_sum": metering.weighted,
    "metering": metering.metering,
    "pricing": pricing.pricing,
    "date_rules": dates.date_rules,
    "boundaries": boundaries.boundaries,
    "billing_schedule": schedules.billing_schedule,
    "subscription_proration": schedules.subscription_proration,
    "trial": schedules.subscription_proration,
    "subscription_change": changes.subscription_change,
    "billing_day": schedules.billing_day,
    "proration_days": schedules.proration_days,
    "proration_amount": schedules.proration_amount,
    "day_counting": schedules.day_counting,
    "fixed_charge": schedules.fixed_charge,
    "recurring_charge": metering.recurring_charge,
    "coupon": amounts.coupon,
    "commitment": amounts.commitment,
    "spending_minimum": amounts.spending_minimum,
    "charge_in_advance": early.charge_in_advance,
    "progressive_billing": early.progressive_billing,
    "usage_threshold_progress": early.usage_threshold_progress,
    "usage_alert": early.usage_alert,
    "billing_threshold": early.billing_threshold,
    "credit_note": credits.credit_note,
    "invoice_balance": credits.invoice_balance,
    "invoice_repair": credits.invoice_repair,
    "tax": documents.tax,
    "issuing_date": documents.issuing_date,
    "invoice_state": documents.invoice_state,
    "grants": rights.grants,
    "entitlement_access": rights.entitlement_access,
    "credit_order": rights.credit_order,
    "wallet": rights.wallet,
}

# Areas with no adapter whose rule is another one here, and why.
OTHERWISE = {
    "charge_prorated_graduated": "levels are averaged over their period and then priced by tiers, not event by event",
    "agg_unique_count_prorated": "a unique count is not prorated; what is held for a time is a time-weighted sum",
}
