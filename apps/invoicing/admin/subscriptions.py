from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from import_export import resources
from import_export.fields import Field
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget

from apps.invoicing.admin.adjustments import AdjustmentForm, agree
from apps.invoicing.models import Invoice
from apps.invoicing.services.closing import repair_subscription
from apps.invoicing.services.settlement import settle_out_of_band
from apps.invoicing.services.terminating import terminate_subscription
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, moment
from apps.kernel.errors import ConflictError
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.clocks import current_time


class ReasonForm(BaseDialogForm):
    reason = forms.CharField(label="Reason", max_length=1000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))


class SubscriptionResource(resources.ModelResource):
    """Columns of the export."""

    customer = Field("customer__consumer__name", "customer")
    plan = Field("plan__name", "plan")

    class Meta:
        model = Subscription
        fields = (
            "public_id", "name", "customer", "plan", "status", "currency", "started_at", "period_number",
            "period_start", "period_end", "terminated_at",
        )  # fmt: skip


def _activate(call: Call) -> str:
    invoice = Invoice.objects.filter(subscription=call.row, sequence_number=0).first()
    if invoice is None or call.row.status != SubscriptionStatus.PENDING_PAYMENT:
        raise ConflictError("Only a subscription that waits for its Invoice 0 can be activated.")
    settle_out_of_band(invoice_id=invoice.pk, as_of=current_time(call.row), reason=call.data["reason"])
    return f"Invoice {invoice.number} is settled and the subscription is active."


def _terminate(call: Call) -> str:
    ended = terminate_subscription(
        subscription_id=call.row.pk,
        as_of=current_time(call.row),
        by=str(call.actor),
        reason=call.data["reason"],
    )
    return f"Ended at {moment(ended.terminated_at)}; its last usage is billed after the grace period."


def _repair(call: Call) -> str:
    if not repair_subscription(subscription_id=call.row.pk):
        raise ConflictError("This subscription is not held back.")
    return "Its work goes on at the next run."


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyModelAdmin):
    """Who has which plan."""

    empty_text = "Subscriptions are made over the API: POST /v0/subscriptions."
    resource_classes = [SubscriptionResource]
    list_display = ["shown", "customer_page", "plan_page", "state", "period", "clock", "parked"]
    list_filter = ["organization", "status", "plan", ("parked_reason", admin.EmptyFieldListFilter)]
    search_fields = ["public_id", "name", "customer__consumer__name", "customer__external_id"]
    list_select_related = ["customer__consumer", "plan", "test_clock", "organization"]
    date_hierarchy = "started_at"
    actions_detail = ["activate", "terminate", "resume_work", "adjust"]
    readonly_fields = ["invoices", "customer_page", "plan_page"]
    fieldsets = [
        (None, {"fields": ["name", "public_id", "customer_page", "plan_page", "status", "invoices"]}),
        ("Period", {"fields": ["period_number", "period_start", "period_end", "billing_anchor", "billing_cadence",
                               "timezone", "next_action_at", "test_clock"]}),
        ("Dates", {"fields": ["placed_at", "started_at", "billing_starts_at", "activated_at", "ending_at",
                              "terminated_at", "terminated_by", "termination_reason"]}),
        ("Terms", {"fields": ["plan_version", "version_policy", "currency", "payment_term_days", "tax_exempt",
                              "auto_charge", "auto_approve", "elapsed_period_billing", "metadata"]}),
        ("Held back", {"fields": ["parked_reason"]}),
    ]  # fmt: skip

    activate = service_action(
        title="Activate",
        permissions=["bill"],
        description="Invoice 0 is recorded as paid outside of the system, and the subscription becomes active.",
        run=_activate,
        form=ReasonForm,
        icon="play_arrow",
        fits=lambda row: row.status == SubscriptionStatus.PENDING_PAYMENT,
    )
    terminate = service_action(
        title="Terminate",
        permissions=["manage_subscription"],
        description="The open period closes now: usage up to this moment is billed, later fees are not.",
        run=_terminate,
        form=ReasonForm,
        icon="stop_circle",
        fits=lambda row: row.status != SubscriptionStatus.TERMINATED,
    )
    resume_work = service_action(
        title="Resume work",
        permissions=["bill"],
        description="After its cause is repaired: the work that was held back is done at the next run.",
        run=_repair,
        icon="restart_alt",
        fits=lambda row: bool(row.parked_reason),
    )

    adjust = service_action(
        title="Adjust",
        permissions=["manage_subscription"],
        description="A percentage off, units waived, or a bound; it reaches what falls due from now on.",
        run=agree,
        form=AdjustmentForm,
        icon="percent",
        fits=lambda row: row.status != SubscriptionStatus.TERMINATED,
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*self.readonly_fields, *(field.name for field in self.opts.fields)]

    @display(description="Subscription", header=True, ordering="name")
    def shown(self, row: Subscription) -> list[str]:
        return [row.name, row.public_id]

    @display(description="Customer", ordering="customer__consumer__name")
    def customer_page(self, row: Subscription) -> str:
        return link(row.customer)

    @display(description="Plan", ordering="plan__name")
    def plan_page(self, row: Subscription) -> str:
        return link(row.plan)

    @display(
        description="Status",
        ordering="status",
        label={"Active": "success", "Pending payment": "warning", "Scheduled": "info", "Terminated": "danger"},
    )
    def state(self, row: Subscription) -> str:
        return SubscriptionStatus(row.status).label

    @display(description="Open period", ordering="period_end")
    def period(self, row: Subscription) -> str:
        if row.status != SubscriptionStatus.ACTIVE:
            return "—"
        return f"{row.period_number}: to {moment(row.period_end)}"

    @display(description="Clock")
    def clock(self, row: Subscription) -> str:
        return link(row.test_clock) if row.test_clock else "real time"

    @display(description="Held back", label={"held back": "danger"})
    def parked(self, row: Subscription) -> str | None:
        return "held back" if row.parked_reason else None

    @display(description="Invoices")
    def invoices(self, row: Subscription) -> str:
        found = Invoice.objects.filter(subscription=row).order_by("-sequence_number")[:24]
        return format_html_join(
            " · ",
            "{} {}",
            ((link(invoice, invoice.number or "open"), invoice.get_status_display()) for invoice in found),
        )
