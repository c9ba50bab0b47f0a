"""What was given up, and what of that was taken back."""

from django.contrib import admin
from unfold.decorators import display

from apps.invoicing.models import DecisionKind, InvoiceDecision
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, money
from apps.kernel.money import format_money

COLOURS = {"Voided": "info", "Written off": "danger", "Reinstated": "success"}


@admin.register(InvoiceDecision)
class InvoiceDecisionAdmin(ReadOnlyModelAdmin):
    """Voids and write-offs with their reasons; they are made on the invoice's page."""

    empty_text = "Voiding an invoice or writing it off on its page stands here with the reason."
    list_display = ["invoice_page", "shown_kind", "amount_shown", "reason", "decided_by", "decided_at"]
    list_filter = ["organization", "kind", "decided_at"]
    search_fields = ["public_id", "invoice__number", "reason", "decided_by"]
    list_select_related = ["invoice"]
    date_hierarchy = "decided_at"
    ordering = ["-id"]
    readonly_fields = ["invoice_page", "amount_exact"]
    fieldsets = [
        (None, {"fields": ["invoice_page", "kind", "amount_exact", "reason"]}),
        ("Record", {"fields": ["decided_by", "decided_at", "public_id"]}),
    ]

    @display(description="Invoice")
    def invoice_page(self, decision: InvoiceDecision) -> str:
        return link(decision.invoice)

    @display(description="Decision", ordering="kind", label=COLOURS)
    def shown_kind(self, decision: InvoiceDecision) -> str:
        return DecisionKind(decision.kind).label

    @display(description="Amount", ordering="amount")
    def amount_shown(self, decision: InvoiceDecision) -> str:
        return money(decision.amount, decision.invoice.currency)

    @display(description="Amount")
    def amount_exact(self, decision: InvoiceDecision) -> str:
        return format_money(decision.amount, decision.invoice.currency)
