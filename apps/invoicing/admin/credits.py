"""Credit notes, and what customers have left of them."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from import_export import resources
from import_export.fields import Field
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.customers.models import Customer
from apps.invoicing.admin.dialogs import ReasonForm
from apps.invoicing.admin.shown import DOCUMENTS
from apps.invoicing.models import (
    BalanceEntry,
    BalanceEntryKind,
    CreditNote,
    CreditNoteLine,
    CreditNoteStatus,
    CustomerBalance,
)
from apps.invoicing.selectors.credits import balances_of
from apps.invoicing.services.crediting import record_refund, void_credit_note
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, listing, moment, money
from apps.kernel.money import format_decimal, format_money
from apps.subscriptions.selectors.clocks import current_time


class PaidOutForm(BaseDialogForm):
    reference = forms.CharField(
        max_length=255, widget=UnfoldAdminTextInputWidget, help_text="Of the payment, such as the bank's."
    )


def _void(call: Call) -> str:
    void_credit_note(
        credit_note_id=call.row.pk,
        as_of=current_time(call.row.invoice.subscription),
        reason=call.data["reason"],
    )
    return "Voided; the invoice is as if it had not been credited."


def _paid_out(call: Call) -> str:
    note = record_refund(
        credit_note_id=call.row.pk,
        as_of=current_time(call.row.invoice.subscription),
        reference=call.data["reference"],
    )
    return f"{format_money(note.refund_amount, note.currency)} recorded as paid back."


class CreditNoteResource(resources.ModelResource):
    """Columns of the export: amounts as numbers, their currency beside them."""

    customer = Field("customer__consumer__name", "customer")
    invoice = Field("invoice__number", "invoice")

    class Meta:
        model = CreditNote
        fields = (
            "number", "public_id", "customer", "invoice", "status", "currency", "subtotal", "total_tax", "total",
            "due_amount", "balance_amount", "refund_amount", "reason", "issued_at", "refunded_at", "voided_at",
        )  # fmt: skip


class RefundFilter(admin.SimpleListFilter):
    """Credit notes with a refund that waits, or that was paid out."""

    title = "refund"
    parameter_name = "refund"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("pending", "To be paid back"), ("paid_out", "Paid back")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        held = queryset.filter(refund_amount__gt=0, status=CreditNoteStatus.ISSUED)
        return held.filter(refunded_at__isnull=self.value() == "pending")


@admin.register(CreditNote)
class CreditNoteAdmin(ReadOnlyModelAdmin):
    """What was given back of invoices."""

    empty_text = "A credit note is made with the button Credit on the page of an issued invoice."
    resource_classes = [CreditNoteResource]
    list_display = ["shown", "customer_page", "invoice_page", "state", "total_shown", "went", "refund", "issued"]
    list_filter = ["organization", "status", "currency", RefundFilter, "issued_at"]
    search_fields = ["number", "public_id", "invoice__number", "customer__consumer__name"]
    list_select_related = ["invoice__subscription__test_clock", "customer__consumer", "organization"]
    date_hierarchy = "issued_at"
    ordering = ["-id"]
    readonly_fields = [
        "customer_page", "invoice_page", "documents", "what", "subtotal_exact", "tax_exact", "total_exact", "went",
        "refund",
    ]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["number", "status", "customer_page", "invoice_page", "reason", "documents", "public_id"]}),
        ("Amount", {"fields": ["what", "subtotal_exact", "tax_exact", "total_exact", "went"]}),
        ("Refund", {"fields": ["refund", "refund_reference", "refunded_at"]}),
        ("Record", {"fields": ["issued_at", "voided_at", "void_reason", "created_at"]}),
    ]
    actions_detail = ["record_refund", "void"]

    record_refund = service_action(
        title="Record refund",
        permissions=["bill"],
        description="The refund is recorded as paid out; the credit note cannot be voided any more.",
        run=_paid_out,
        form=PaidOutForm,
        icon="payments",
        fits=lambda note: note.refund_state == "pending",
    )
    void = service_action(
        title="Void",
        permissions=["bill"],
        description="Only while nothing came of it: no invoice is settled with it or paid by it, no refund paid out.",
        run=_void,
        form=ReasonForm,
        icon="block",
        fits=lambda note: note.status == CreditNoteStatus.ISSUED and note.refunded_at is None,
    )

    @display(description="Number", ordering="number", header=True)
    def shown(self, note: CreditNote) -> list[str]:
        return [note.number, note.reason[:80]]

    @display(description="Customer", ordering="customer__consumer__name")
    def customer_page(self, note: CreditNote) -> str:
        return link(note.customer)

    @display(description="Invoice")
    def invoice_page(self, note: CreditNote) -> str:
        return link(note.invoice)

    @display(description="Status", ordering="status", label={"Issued": "success", "Voided": "danger"})
    def state(self, note: CreditNote) -> str:
        return CreditNoteStatus(note.status).label

    @display(description="Issued", ordering="issued_at")
    def issued(self, note: CreditNote) -> str:
        return moment(note.issued_at)

    @display(description="Total", ordering="total")
    def total_shown(self, note: CreditNote) -> str:
        return money(note.total, note.currency)

    @display(description="Where it went")
    def went(self, note: CreditNote) -> str:
        parts = [
            (note.due_amount, "off what was due"),
            (note.balance_amount, "to the balance"),
            (note.refund_amount, "to be paid back"),
        ]
        shown = ((format_money(amount, note.currency), words) for amount, words in parts if amount)
        return format_html_join(", ", "{} {}", shown)

    @display(description="Refund", label={"pending": "warning", "paid out": "success", "voided": "danger"})
    def refund(self, note: CreditNote) -> str | None:
        return None if note.refund_state == "none" else note.refund_state.replace("_", " ")

    @display(description="Documents")
    def documents(self, note: CreditNote) -> str:
        # By address: this app does not know who makes them. A voided one is no e-invoice.
        kinds = {"pdf": DOCUMENTS["pdf"]} if note.status == CreditNoteStatus.VOIDED else DOCUMENTS
        rows = (
            (reverse("admin:documents_credit_download", args=[note.pk, kind]), words) for kind, words in kinds.items()
        )
        return format_html_join(" · ", '<a class="mg-link" href="{}">{}</a>', rows)

    @display(description="Lines")
    def what(self, note: CreditNote) -> str:
        rows = (
            (
                line.display_name,
                format_money(line.subtotal, note.currency),
                format_money(line.tax_amount, note.currency),
                format_decimal(line.tax_rate),
            )
            for line in note.lines.order_by("pk")
        )
        return format_html_join(mark_safe("<br>"), "{}: {}, tax {} ({} %)", rows)

    @display(description="Subtotal")
    def subtotal_exact(self, note: CreditNote) -> str:
        return format_money(note.subtotal, note.currency)

    @display(description="Tax")
    def tax_exact(self, note: CreditNote) -> str:
        return format_money(note.total_tax, note.currency)

    @display(description="Total")
    def total_exact(self, note: CreditNote) -> str:
        return format_money(note.total, note.currency)


@admin.register(CreditNoteLine)
class CreditNoteLineAdmin(ReadOnlyModelAdmin):
    """What credit notes gave back of single lines."""

    empty_text = "A credit note has a line for each line of its invoice that it gives something back of."
    list_display = ["display_name", "note_page", "subtotal_shown", "tax_shown", "total_shown"]
    list_filter = ["organization"]
    search_fields = ["display_name", "public_id", "credit_note__number"]
    list_select_related = ["credit_note"]
    ordering = ["-id"]

    @display(description="Credit note")
    def note_page(self, line: CreditNoteLine) -> str:
        return link(line.credit_note)

    @display(description="Subtotal", ordering="subtotal")
    def subtotal_shown(self, line: CreditNoteLine) -> str:
        return money(line.subtotal, line.credit_note.currency)

    @display(description="Tax", ordering="tax_amount")
    def tax_shown(self, line: CreditNoteLine) -> str:
        return money(line.tax_amount, line.credit_note.currency)

    @display(description="Total", ordering="total")
    def total_shown(self, line: CreditNoteLine) -> str:
        return money(line.total, line.credit_note.currency)


@admin.register(CustomerBalance)
class CustomerBalanceAdmin(ReadOnlyModelAdmin):
    """What customers have left of their credits."""

    empty_text = "A credit note of a paid invoice puts its amount on the customer's balance."
    list_display = ["customer_page", "currency", "amount_shown"]
    list_filter = ["organization", "currency"]
    search_fields = ["customer__consumer__name", "customer__public_id"]
    list_select_related = ["customer__consumer"]
    ordering = ["-amount", "pk"]

    @display(description="Customer", ordering="customer__consumer__name")
    def customer_page(self, row: CustomerBalance) -> str:
        return link(row.customer)

    @display(description="Left", ordering="amount")
    def amount_shown(self, row: CustomerBalance) -> str:
        return money(row.amount, row.currency)


@admin.register(BalanceEntry)
class BalanceEntryAdmin(ReadOnlyModelAdmin):
    """How customers' balances came to be: credits, and what they paid."""

    empty_text = "A credit note of a paid invoice is the first entry of a customer's balance."
    list_display = ["customer_page", "what", "amount_shown", "note_page", "invoice_page", "occurred"]
    list_filter = ["organization", "kind", "currency"]
    search_fields = ["public_id", "customer__consumer__name", "credit_note__number", "invoice__number"]
    list_select_related = ["customer__consumer", "credit_note", "invoice"]
    date_hierarchy = "occurred_at"
    ordering = ["-id"]

    @display(description="Customer", ordering="customer__consumer__name")
    def customer_page(self, entry: BalanceEntry) -> str:
        return link(entry.customer)

    @display(
        description="What",
        ordering="kind",
        label={
            "Credit": "success",
            "Paid an invoice": "info",
            "Invoice cancelled": "info",
            "Credit voided": "danger",
        },
    )
    def what(self, entry: BalanceEntry) -> str:
        return BalanceEntryKind(entry.kind).label

    @display(description="Amount", ordering="amount")
    def amount_shown(self, entry: BalanceEntry) -> str:
        return money(entry.amount, entry.currency)

    @display(description="Credit note")
    def note_page(self, entry: BalanceEntry) -> str:
        return link(entry.credit_note)

    @display(description="Invoice")
    def invoice_page(self, entry: BalanceEntry) -> str:
        return link(entry.invoice)

    @display(description="When", ordering="occurred_at")
    def occurred(self, entry: BalanceEntry) -> str:
        return moment(entry.occurred_at)


@display(description="Balance")
def balance(screen: Any, customer: Customer) -> str:
    """Say what a customer has left, with the way to how it came to be."""
    rows = [row for row in balances_of(customer_id=customer.pk) if row.amount]
    shown = ", ".join(format_money(row.amount, row.currency) for row in rows) or "nothing"
    return format_html("{} · {}", shown, listing(BalanceEntry, "Entries", customer__id__exact=customer.pk))


def show_on_customers() -> None:
    """Put the balance on the page of customers, whose app does not know of it."""
    screen: Any = admin.site._registry[Customer]
    type(screen).balance = balance
    place = screen.fields.index("related")
    screen.fields = [*screen.fields[:place], "balance", *screen.fields[place:]]
    screen.readonly_fields = [*screen.readonly_fields, "balance"]


show_on_customers()
