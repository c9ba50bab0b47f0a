"""The buttons that give an invoice up, and take that back."""

from typing import Any

from apps.invoicing.admin.dialogs import ReasonForm
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.invoicing.services.voiding import (
    UNPAID,
    VOIDABLE,
    reinstate_invoice,
    void_invoice,
    write_off_invoice,
)
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.money import format_money
from apps.subscriptions.models import SubscriptionStatus
from apps.subscriptions.selectors.clocks import current_time


def _void(call: Call) -> str:
    void_invoice(**_decided(call))
    return "Voided; nothing of it is due, and its number stays used."


def _write_off(call: Call) -> str:
    given_up = write_off_invoice(**_decided(call))
    return f"{format_money(given_up.unpaid_amount, given_up.currency)} written off."


def _reinstate(call: Call) -> str:
    back = reinstate_invoice(**_decided(call))
    return f"{format_money(back.unpaid_amount, back.currency)} is due again."


def _decided(call: Call) -> dict[str, Any]:
    return {
        "invoice_id": call.row.pk,
        "as_of": current_time(call.row.subscription),
        "reason": call.data["reason"],
        "by": call.actor.email,
    }


def _is_awaited(invoice: Invoice) -> bool:
    return invoice.sequence_number == 0 and invoice.subscription.status == SubscriptionStatus.PENDING_PAYMENT


void_action = service_action(
    title="Void",
    permissions=["bill"],
    description="It counts as never billed and keeps its number. For what is paid, or corrected since, there are "
    "credit notes.",
    run=_void,
    form=ReasonForm,
    icon="block",
    fits=lambda invoice: invoice.status in VOIDABLE and not _is_awaited(invoice),
)
write_off_action = service_action(
    title="Write off",
    permissions=["bill"],
    description="It stands, but nobody is asked for what is due of it. It can be reinstated, and money that comes "
    "after all can be recorded.",
    run=_write_off,
    form=ReasonForm,
    icon="money_off",
    fits=lambda invoice: invoice.status in UNPAID and not (_is_awaited(invoice) or invoice.is_purchase),
)
reinstate_action = service_action(
    title="Reinstate",
    permissions=["bill"],
    description="What was written off is due again.",
    run=_reinstate,
    form=ReasonForm,
    icon="undo",
    fits=lambda invoice: invoice.status == InvoiceStatus.WRITTEN_OFF,
)
