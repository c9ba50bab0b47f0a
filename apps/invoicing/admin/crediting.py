"""The dialog that credits an invoice, with a preview of the credit note."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from apps.invoicing.admin.previews import AskingForm
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.services.crediting import (
    CREDITED,
    CreditRequest,
    PlannedCredit,
    issue_credit_note,
    plan_credit,
)
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.money import format_money
from apps.subscriptions.selectors.clocks import current_time

BALANCE, REFUND = "balance", "refund"


class CreditForm(AskingForm):
    """How much of an invoice is given back, and where it goes; whole as it opens."""

    form_after_template = "invoicing/credit_preview.html"
    is_ready = True
    amount = forms.DecimalField(
        max_digits=38, decimal_places=9, required=False, widget=UnfoldAdminTextInputWidget,
        help_text="With tax, shared out over the lines; empty: everything that is left.",
    )  # fmt: skip
    line = forms.CharField(
        max_length=64, required=False, widget=UnfoldAdminTextInputWidget,
        help_text="Id of one line, where the amount is of that line alone and without tax.",
    )  # fmt: skip
    destination = forms.ChoiceField(
        label="What is not due any more",
        choices=[(BALANCE, "Stays on the customer's balance"), (REFUND, "Is paid back, as far as it was paid")],
        initial=BALANCE,
        widget=UnfoldAdminSelectWidget,
    )
    reason = forms.CharField(max_length=1000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean()
        if data.get("line") and data.get("amount") is None and "amount" not in self.errors:
            self.add_error("amount", "Give the amount of the line, without tax.")
        return data

    def find_row(self, object_id: str) -> Invoice | None:
        return with_neighbours(Invoice.objects.all()).filter(pk=object_id).first()

    def shown(self, row: Invoice, data: dict[str, Any]) -> dict[str, Any]:
        return _shown(row, plan_credit(invoice=row, asked=_asked(data)))


def _asked(data: dict[str, Any]) -> CreditRequest:
    line, amount = (data.get("line") or "").strip(), data.get("amount")
    return CreditRequest(
        reason=data.get("reason") or "",
        amount=None if line else amount,
        lines={line: amount} if line and amount is not None else None,
        wants_refund=data.get("destination") == REFUND,
    )


def _shown(invoice: Invoice, plan: PlannedCredit) -> dict[str, Any]:
    currency = invoice.currency
    goes = [
        ("Off what is due", plan.goes.due),
        ("To the customer's balance", plan.goes.balance),
        ("To be paid back", plan.goes.refund),
    ]
    return {
        "credit": plan,
        "lines": [
            (line.display_name, format_money(part.net, currency), format_money(part.tax, currency))
            for line, part in plan.credits
        ],
        "subtotal": format_money(plan.subtotal, currency),
        "tax": format_money(plan.total_tax, currency),
        "total": format_money(plan.total, currency),
        "goes": [(words, format_money(amount, currency)) for words, amount in goes if amount],
        "due_after": format_money(plan.due_after, currency),
        "left_after": format_money(plan.left_after, currency),
    }


def credit(call: Call) -> str:
    """Credit the invoice of a page."""
    note = issue_credit_note(
        invoice_id=call.row.pk, asked=_asked(call.data), as_of=current_time(call.row.subscription)
    )
    return f"{format_money(note.total, note.currency)} credited by {note.number}."


credit_action = service_action(
    title="Credit",
    permissions=["bill"],
    description="A numbered credit note gives back what is left of the invoice, or a part of it. What is due is "
    "reduced first.",
    run=credit,
    form=CreditForm,
    icon="undo",
    submit="Issue credit note",
    fits=lambda invoice: (
        invoice.status in (CREDITED if not invoice.is_purchase else ("PAID",)) and invoice.grand_total > 0
    ),
)
