from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from import_export import resources
from import_export.fields import Field
from unfold.decorators import display
from unfold.forms import BaseDialogForm

from apps.invoicing.admin.crediting import credit_action
from apps.invoicing.admin.dialogs import ReasonForm
from apps.invoicing.admin.giving_up import reinstate_action, void_action, write_off_action
from apps.invoicing.admin.shown import paper_context
from apps.invoicing.domain.taxes import tax_in_words
from apps.invoicing.domain.words import steps_in_words
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, PaymentSession
from apps.invoicing.selectors.invoices import listed_lines, totals
from apps.invoicing.services.closing import close_period_now
from apps.invoicing.services.issuing import approve_invoice, retry_failed
from apps.invoicing.services.settlement import settle_out_of_band
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, moment, money, quantity, unit_price
from apps.kernel.money import format_decimal, format_money, format_unit_price
from apps.subscriptions.selectors.clocks import current_time

COLOURS = {
    "Open": "info",
    "Closing": "info",
    "Calculating": "info",
    "Draft": "warning",
    "Issued": "warning",
    "Consolidated": "info",
    "Paid": "success",
    "Payment failed": "danger",
    "Failed": "danger",
    "Written off": "danger",
}


class KindFilter(admin.SimpleListFilter):
    """Bills of whole periods, those of usage before its end, or what was bought beside the plan."""

    title = "what it bills"
    parameter_name = "early"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "Bills of periods"), ("yes", "Early bills"), ("purchase", "Purchases")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "no":
                return queryset.filter(part=0, is_purchase=False)
            case "yes":
                return queryset.filter(part__gt=0)
            case "purchase":
                return queryset.filter(is_purchase=True)
        return queryset


class ConsolidatedFilter(admin.SimpleListFilter):
    """Documents as customers have them, or the invoices that share one."""

    title = "consolidation"
    parameter_name = "consolidation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("documents", "Documents"), ("several", "Documents of several"), ("members", "Issued with others")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "documents":
                return queryset.filter(consolidated_into__isnull=True)
            case "several":
                return queryset.filter(has_members=True)
            case "members":
                return queryset.filter(consolidated_into__isnull=False)
        return queryset


class InvoiceResource(resources.ModelResource):
    """Columns of the export: amounts as numbers, their currency beside them."""

    customer = Field("customer__consumer__name", "customer")
    subscription = Field("subscription__public_id", "subscription")
    consolidated_into = Field("consolidated_into__number", "consolidated_into")

    class Meta:
        model = Invoice
        fields = (
            "number", "public_id", "customer", "subscription", "sequence_number", "part", "is_purchase", "status",
            "consolidated_into", "currency", "subtotal", "total_tax", "grand_total", "paid_amount", "credited_amount",
            "balance_applied", "period_start", "period_end", "issued_at", "due_at", "paid_at",
        )  # fmt: skip


def _issue(call: Call) -> str:
    issued = approve_invoice(invoice_id=call.row.pk, as_of=current_time(call.row.subscription))
    return f"Issued as {issued.number}."


def _settle(call: Call) -> str:
    paid = settle_out_of_band(
        invoice_id=call.row.pk, as_of=current_time(call.row.subscription), reason=call.data["reason"]
    )
    return f"{format_money(paid.paid_amount, paid.currency)} recorded as received."


def _close(call: Call) -> str:
    closed = close_period_now(invoice_id=call.row.pk, as_of=current_time(call.row.subscription))
    return f"Calculated: {closed.number or closed.consolidated_into or 'a draft to approve'}."


def _is_over(invoice: Invoice) -> bool:
    """Whether the period is over and not calculated yet."""
    if invoice.status == InvoiceStatus.ACTIVE:
        return invoice.period_end <= current_time(invoice.subscription)
    return invoice.status == InvoiceStatus.CLOSING


def _retry(call: Call) -> str:
    retry_failed(invoice_id=call.row.pk, as_of=current_time(call.row.subscription))
    return "It is calculated again at the next run."


@admin.register(Invoice)
class InvoiceAdmin(ReadOnlyModelAdmin):
    """Invoices: a paper view, not a form; what changes them are the buttons."""

    empty_text = "An invoice is opened with each period of a subscription."
    resource_classes = [InvoiceResource]
    change_form_template = "invoicing/admin_invoice.html"
    list_display = [
        "shown",
        "customer_page",
        "state",
        "issued",
        "due",
        "total_shown",
        "paid_shown",
        "subscription_page",
    ]
    list_filter = ["organization", "status", "currency", "issued_at", KindFilter, ConsolidatedFilter]
    search_fields = ["number", "public_id", "customer__consumer__name", "customer__consumer__email"]
    list_select_related = [
        "customer__consumer", "subscription__plan", "subscription__test_clock", "organization",
        "customer__organization", "consolidated_into",
    ]  # fmt: skip
    date_hierarchy = "issued_at"
    ordering = ["-id"]
    actions_detail = [
        "issue", "settle_out_of_band", "credit", "void", "write_off", "reinstate", "close_period_now",
        "calculate_again",
    ]  # fmt: skip
    credit = credit_action
    void, write_off, reinstate = void_action, write_off_action, reinstate_action

    issue = service_action(
        title="Issue",
        permissions=["bill"],
        description="The draft gets its number and never changes again.",
        run=_issue,
        form=BaseDialogForm,
        icon="verified",
        fits=lambda invoice: invoice.status == InvoiceStatus.DRAFT,
    )
    settle_out_of_band = service_action(
        title="Settle out of band",
        permissions=["bill"],
        description="The whole open amount is recorded as received outside of the system; its payment link ends.",
        run=_settle,
        form=ReasonForm,
        icon="payments",
        submit="Record payment",
        # What was written off may come after all.
        fits=lambda invoice: (
            invoice.status in {InvoiceStatus.ISSUED, InvoiceStatus.PAYMENT_FAILED, InvoiceStatus.WRITTEN_OFF}
        ),
    )
    close_period_now = service_action(
        title="Close period now",
        permissions=["bill"],
        description="A period that is over is calculated without waiting for late usage, which then comes on the "
        "next invoice.",
        run=_close,
        icon="event_available",
        fits=_is_over,
    )
    calculate_again = service_action(
        title="Calculate again",
        permissions=["bill"],
        description="After the cause of the failure is repaired.",
        run=_retry,
        icon="refresh",
        fits=lambda invoice: invoice.status == InvoiceStatus.FAILED,
    )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        rows = list(changelist.result_list)
        lines = listed_lines(rows)
        for row in rows:
            row.shown_totals = totals(row, lines.get(row.pk))[0]
        changelist.result_list = rows
        return changelist

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        invoice = self.get_object(request, object_id)
        paper = paper_context(invoice) if invoice is not None else {}
        page: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **paper})
        return page

    @display(description="Number", ordering="number", header=True)
    def shown(self, invoice: Invoice) -> list[str]:
        number = f"on {invoice.consolidated_into}" if invoice.consolidated_into else invoice.number or "not issued"
        return [number, f"{invoice.label}, to {moment(invoice.period_end)}"]

    @display(description="Customer", ordering="customer__consumer__name")
    def customer_page(self, invoice: Invoice) -> str:
        return link(invoice.customer)

    @display(description="Status", ordering="status", label=COLOURS)
    def state(self, invoice: Invoice) -> str:
        return InvoiceStatus(invoice.status).label

    @display(description="Issued", ordering="issued_at")
    def issued(self, invoice: Invoice) -> str:
        return moment(invoice.issued_at)

    @display(description="Due", ordering="due_at")
    def due(self, invoice: Invoice) -> str:
        # A date: payment is due by the end of a day, whatever the hour of the issue.
        return invoice.due_at.strftime("%Y-%m-%d") if invoice.due_at is not None else "—"

    @display(description="Total", ordering="grand_total")
    def total_shown(self, invoice: Any) -> str:
        return money(invoice.shown_totals.grand_total, invoice.currency)

    @display(description="Paid", ordering="paid_amount")
    def paid_shown(self, invoice: Invoice) -> str:
        return money(invoice.paid_amount, invoice.currency)

    @display(description="Subscription")
    def subscription_page(self, invoice: Invoice) -> str:
        return "several" if invoice.has_members else link(invoice.subscription)


@admin.register(InvoiceLine)
class InvoiceLineAdmin(ReadOnlyModelAdmin):
    """Stored lines of calculated invoices."""

    empty_text = "Lines are stored when an invoice is calculated; those of open periods stand on the invoice itself."
    list_display = [
        "display_name", "invoice_page", "kind", "quantity_shown", "unit_price_shown", "amount_shown", "late",
    ]  # fmt: skip
    list_filter = ["organization", "kind", "is_late", "currency"]
    search_fields = ["display_name", "public_id", "invoice__number"]
    list_select_related = ["invoice"]
    date_hierarchy = "period_end"
    ordering = ["-id"]
    readonly_fields = [
        "invoice_page", "quantity_exact", "unit_price_exact", "subtotal_exact", "tax_exact", "total_exact",
        "gross_exact", "calculation", "taxation",
    ]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["display_name", "description", "invoice_page", "kind", "price_revision", "public_id"]}),
        ("Amount", {"fields": ["quantity_exact", "unit_price_exact", "gross_exact", "subtotal_exact", "tax_exact",
                               "taxation", "total_exact", "calculation"]}),
        ("Service period", {"fields": ["period_start", "period_end", "is_late"]}),
        ("Record", {"fields": ["reference", "idempotency_key", "provenance", "created_at"]}),
    ]  # fmt: skip

    @display(description="Quantity")
    def quantity_exact(self, line: InvoiceLine) -> str:
        return format_decimal(line.quantity)

    @display(description="Unit price")
    def unit_price_exact(self, line: InvoiceLine) -> str:
        return format_unit_price(line.unit_price, line.currency)

    @display(description="Rounded amount")
    def gross_exact(self, line: InvoiceLine) -> str:
        return format_money(line.gross, line.currency)

    @display(description="Subtotal")
    def subtotal_exact(self, line: InvoiceLine) -> str:
        return format_money(line.subtotal, line.currency)

    @display(description="Tax")
    def tax_exact(self, line: InvoiceLine) -> str:
        return f"{format_money(line.tax_amount, line.currency)} ({format_decimal(line.tax_rate)} %)"

    @display(description="Total")
    def total_exact(self, line: InvoiceLine) -> str:
        return format_money(line.total, line.currency)

    @display(description="How it was calculated")
    def calculation(self, line: InvoiceLine) -> str:
        steps = ((number, step) for number, step in enumerate(steps_in_words(line.provenance), 1))
        return format_html_join(mark_safe("<br>"), "{}. {}", steps) or "—"

    @display(description="How it was taxed")
    def taxation(self, line: InvoiceLine) -> str:
        return format_html_join(mark_safe("<br>"), "{}", ((text,) for text in tax_in_words(line, line.currency)))

    @display(description="Invoice")
    def invoice_page(self, line: InvoiceLine) -> str:
        return link(line.invoice)

    @display(description="Quantity", ordering="quantity")
    def quantity_shown(self, line: InvoiceLine) -> str:
        return quantity(line.quantity)

    @display(description="Unit price", ordering="unit_price")
    def unit_price_shown(self, line: InvoiceLine) -> str:
        return unit_price(line.unit_price, line.currency)

    @display(description="Late usage", ordering="is_late", label={"late": "warning"})
    def late(self, line: InvoiceLine) -> str | None:
        return "late" if line.is_late else None

    @display(description="Amount", ordering="subtotal")
    def amount_shown(self, line: InvoiceLine) -> str:
        return money(line.subtotal, line.currency)


@admin.register(PaymentSession)
class PaymentSessionAdmin(ReadOnlyModelAdmin):
    """Hosted pages where invoices can be paid."""

    empty_text = "An invoice that asks for payment gets a session with a hosted page."
    list_display = ["public_id", "invoice_page", "state", "amount_shown", "expires_at", "completed_at"]
    list_filter = ["organization", "status", "entity_type"]
    search_fields = ["public_id", "invoice__number"]
    list_select_related = ["invoice"]
    date_hierarchy = "created_at"
    ordering = ["-id"]
    readonly_fields = ["invoice_page", "amount_exact"]
    fieldsets = [
        (None, {"fields": ["public_id", "invoice_page", "status", "amount_exact", "entity_type"]}),
        ("Dates", {"fields": ["created_at", "expires_at", "completed_at"]}),
    ]

    @display(description="Amount")
    def amount_exact(self, session: PaymentSession) -> str:
        return format_money(session.amount, session.currency)

    @display(description="Invoice")
    def invoice_page(self, session: PaymentSession) -> str:
        return link(session.invoice)

    @display(
        description="Status",
        label={"Pending": "warning", "Completed": "success", "Expired": "danger", "Cancelled": "info"},
    )
    def state(self, session: PaymentSession) -> str:
        return str(session.get_status_display())

    @display(description="Amount", ordering="amount")
    def amount_shown(self, session: PaymentSession) -> str:
        return money(session.amount, session.currency)
