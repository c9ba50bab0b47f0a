"""Buttons of subscriptions that bill something without waiting for its time."""

from apps.invoicing.services.afterwards import bill_corrections_now
from apps.invoicing.services.early import bill_usage_now
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.money import format_money
from apps.subscriptions.models import SubscriptionStatus
from apps.subscriptions.selectors.clocks import current_time


def _bill_usage(call: Call) -> str:
    invoice = bill_usage_now(subscription_id=call.row.pk, as_of=current_time(call.row))
    amount = format_money(invoice.grand_total, invoice.currency)
    return f"{invoice.number or invoice.public_id}: {amount} of usage is billed."


def _bill_corrections(call: Call) -> str:
    invoice = bill_corrections_now(subscription_id=call.row.pk)
    amount = format_money(invoice.grand_total, invoice.currency)
    return f"{invoice.number or invoice.public_id}: corrections of {amount}."


usage_action = service_action(
    title="Bill usage now",
    permissions=["bill"],
    description="The usage of the open period so far is billed; the period's own bill has what comes after.",
    run=_bill_usage,
    icon="receipt_long",
    fits=lambda row: row.status == SubscriptionStatus.ACTIVE,
)
corrections_action = service_action(
    title="Bill corrections",
    permissions=["bill"],
    description="Usage that came late, or was taken back, after the last invoice; what is given back goes to the"
    " customer's balance.",
    run=_bill_corrections,
    icon="receipt_long",
    fits=lambda row: row.status == SubscriptionStatus.TERMINATED,
)
