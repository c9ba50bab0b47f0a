from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from import_export import resources
from import_export.fields import Field
from unfold.admin import TabularInline
from unfold.decorators import display

from apps.invoicing.admin import dialogs, quantities, watching
from apps.invoicing.admin.adjustments import AdjustmentForm, agree
from apps.invoicing.admin.billing_now import corrections_action, usage_action
from apps.invoicing.admin.coupons import apply_action
from apps.invoicing.admin.spend import agree_action, spend_in_words
from apps.invoicing.admin.subscribing import NEW_SUBSCRIPTION_FIELDS, NewSubscriptionForm
from apps.invoicing.admin.timeline import IntervalInline, QuantityInline, intervals_table
from apps.invoicing.models import Invoice
from apps.invoicing.services.closing import repair_subscription
from apps.invoicing.services.settlement import settle_out_of_band
from apps.invoicing.services.terminating import terminate_subscription
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, moment
from apps.kernel.errors import ConflictError
from apps.subscriptions.models import Subscription, SubscriptionPause, SubscriptionStatus
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.selectors.trials import is_tried


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


class PauseInline(TabularInline):
    """When it was paused; a pause that lasts stands among its dates."""

    model = SubscriptionPause
    fields = ["span"]
    readonly_fields = ["span"]
    extra = 0
    can_delete = False
    verbose_name_plural = "Pauses that are over"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyModelAdmin):
    """Who has which plan."""

    empty_text = "Add a subscription here, or over the API: POST /v0/subscriptions."
    add_right: ClassVar[str | None] = "manage_subscription"
    resource_classes = [SubscriptionResource]
    list_display = ["shown", "customer_page", "plan_page", "state", "period", "clock", "parked"]
    list_filter = ["organization", "status", "plan", ("parked_reason", admin.EmptyFieldListFilter)]
    search_fields = ["public_id", "name", "customer__consumer__name", "customer__external_id"]
    list_select_related = ["customer__consumer", "plan", "test_clock", "organization"]
    date_hierarchy = "started_at"
    # What is asked for every day is a button; the rest would run off the page.
    actions_detail = [
        "activate",
        "pause",
        "resume",
        "bill_usage",
        "bill_corrections",
        "resume_work",
        {
            "title": "Change",
            "icon": "edit",
            "items": [
                "change_plan",
                "change_quantity",
                "undo_quantity_change",
                "schedule_price",
                "migrate_version",
                "move_trial_end",
                "set_auto_renewal",
            ],
        },
        {
            "title": "Agree",
            "icon": "handshake",
            "items": [
                "adjust",
                "apply_coupon",
                "agree_spend",
                "billing_thresholds",
                "add_alert",
            ],
        },
        {
            "title": "End",
            "icon": "stop_circle",
            "items": [
                "cancel",
                "undo_cancellation",
                "terminate",
            ],
        },
    ]
    inlines = [QuantityInline, IntervalInline, PauseInline]
    autocomplete_fields = ["customer", "plan"]
    readonly_fields = ["invoices", "customer_page", "plan_page", "spend", "prices"]
    fieldsets = [
        (None, {"fields": ["name", "public_id", "customer_page", "plan_page", "status", "invoices"]}),
        ("Period", {"fields": ["period_number", "period_start", "period_end", "billing_anchor", "billing_cadence",
                               "timezone", "next_action_at", "renewal_reminder_enabled", "renewal_reminder_days",
                               "next_reminder_at", "reminded_at", "test_clock"]}),
        ("Prices over time", {"fields": ["prices"]}),
        ("Dates", {"fields": ["placed_at", "started_at", "billing_starts_at", "activated_at", "trial_ends_at",
                              "trial_usage", "paused_at",
                              "ending_at", "cancels_at", "terminated_at", "terminated_by", "termination_reason"]}),
        ("Terms", {"fields": ["plan_version", "next_version", "version_policy", "next_plan", "replaces", "currency",
                              "term_periods", "term_number", "term_ends_at", "auto_renew", "spend",
                              "billing_thresholds", "payment_term_days", "tax_exempt", "auto_charge", "auto_approve",
                              "elapsed_period_billing", "metadata"]}),
        ("Held back", {"fields": ["parked_reason"]}),
    ]  # fmt: skip

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = NewSubscriptionForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return [(None, {"fields": (*NEW_SUBSCRIPTION_FIELDS, "items")})]
        return super().get_fieldsets(request, obj)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return super().get_inlines(request, obj) if obj is not None else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        """The form made it; what exists is changed by the buttons alone."""

    activate = service_action(
        title="Activate",
        permissions=["bill"],
        description="Invoice 0 is recorded as paid outside of the system, and the subscription becomes active.",
        run=_activate,
        form=dialogs.ReasonForm,
        icon="play_arrow",
        fits=lambda row: row.status == SubscriptionStatus.PENDING_PAYMENT,
    )
    pause = service_action(
        title="Pause",
        permissions=["manage_subscription"],
        description="No fees from now on; the rest of what was prepaid is credited. Usage is still billed.",
        run=dialogs.pause,
        form=dialogs.PauseForm,
        icon="pause_circle",
        fits=lambda row: row.status == SubscriptionStatus.ACTIVE and row.paused_at is None,
    )
    resume = service_action(
        title="Resume",
        permissions=["manage_subscription"],
        description="Fees count again from now on; the rest of the running period is billed on the open invoice.",
        run=dialogs.resume,
        form=dialogs.ResumeForm,
        icon="play_circle",
        fits=lambda row: row.status == SubscriptionStatus.ACTIVE and row.paused_at is not None,
    )
    cancel = service_action(
        title="Cancel",
        permissions=["manage_subscription"],
        description="The subscription ends on the date, or with its open period; until then it can be undone.",
        run=dialogs.cancel,
        form=dialogs.CancelForm,
        icon="event_busy",
        fits=lambda row: row.status == SubscriptionStatus.ACTIVE,
    )
    undo_cancellation = service_action(
        title="Undo cancellation",
        permissions=["manage_subscription"],
        description="The subscription goes on, and its bills are as if it had not been cancelled.",
        run=dialogs.undo,
        icon="undo",
        fits=lambda row: row.status == SubscriptionStatus.ACTIVE and row.cancels_at is not None,
    )
    move_trial_end = service_action(
        title="Move trial end",
        permissions=["manage_subscription"],
        description="The trial ends on the date, or now; fees in advance fall due in that moment.",
        run=dialogs.move_trial,
        form=dialogs.TrialForm,
        icon="hourglass_bottom",
        fits=lambda row: row.status == SubscriptionStatus.ACTIVE and is_tried(row, current_time(row)),
    )
    set_auto_renewal = service_action(
        title="Set auto renewal",
        permissions=["manage_subscription"],
        description="Another term follows the running one, or the subscription ends with it.",
        run=dialogs.set_renewal,
        form=dialogs.RenewalForm,
        icon="autorenew",
        fits=lambda row: row.status != SubscriptionStatus.TERMINATED and row.term_ends_at is not None,
    )
    bill_usage = usage_action
    bill_corrections = corrections_action
    change_plan = service_action(
        title="Change plan",
        permissions=["manage_subscription"],
        description="The subscription ends, its unused prepaid time is credited, and one to the other plan goes on.",
        run=dialogs.change,
        form=dialogs.ChangePlanForm,
        icon="swap_horiz",
        fits=lambda row: row.status == SubscriptionStatus.ACTIVE,
    )
    terminate = service_action(
        title="Terminate",
        permissions=["manage_subscription"],
        description="The open period closes now: usage up to this moment is billed, later fees are not.",
        run=_terminate,
        form=dialogs.TerminateForm,
        icon="stop_circle",
        fits=lambda row: row.status != SubscriptionStatus.TERMINATED,
    )
    migrate_version = service_action(
        title="Migrate version",
        permissions=["manage_subscription"],
        description="The subscription is pinned to a version of its plan; nothing is prorated.",
        run=dialogs.migrate,
        form=dialogs.MigrateForm,
        icon="move_up",
        fits=lambda row: row.status == SubscriptionStatus.ACTIVE,
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

    apply_coupon = apply_action
    agree_spend = agree_action
    change_quantity = service_action(
        title="Change quantity",
        permissions=["manage_subscription"],
        description="What is prepaid is settled on the open invoice: more is charged, less is credited.",
        run=quantities.change,
        form=quantities.QuantityForm,
        icon="exposure",
        fits=lambda row: row.status == SubscriptionStatus.ACTIVE,
    )
    undo_quantity_change = service_action(
        title="Undo quantity change",
        permissions=["manage_subscription"],
        description="Changes of quantities that lie ahead are taken back; bills are as if they were not asked for.",
        run=quantities.undo,
        icon="undo",
        fits=lambda row: row.status == SubscriptionStatus.ACTIVE,
    )
    schedule_price = service_action(
        title="Schedule price",
        permissions=["manage_subscription"],
        description="From a date ahead, one price costs this subscription something else; several make a ramp.",
        run=quantities.schedule,
        form=quantities.PriceForm,
        icon="timeline",
        fits=lambda row: row.status != SubscriptionStatus.TERMINATED,
    )
    billing_thresholds = service_action(
        title="Billing thresholds",
        permissions=["manage_subscription"],
        description="Usage is billed before the end of its period when it reaches an amount.",
        run=watching.change_thresholds,
        form=watching.SubscriptionThresholdsForm,
        icon="stacked_line_chart",
        fits=lambda row: row.status != SubscriptionStatus.TERMINATED,
    )
    add_alert = service_action(
        title="Add alert",
        permissions=["manage_subscription"],
        description="Somebody is told when usage passes a value, once a period.",
        run=watching.add_alert,
        form=watching.AlertForm,
        icon="add_alert",
        fits=lambda row: row.status != SubscriptionStatus.TERMINATED,
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ()
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

    @display(description="Commitments and caps")
    def spend(self, row: Subscription) -> str:
        return spend_in_words(row)

    @display(description="Prices")
    def prices(self, row: Subscription) -> str:
        return intervals_table(row)

    @display(description="Invoices")
    def invoices(self, row: Subscription) -> str:
        found = Invoice.objects.filter(subscription=row, has_members=False).select_related("consolidated_into")
        return format_html_join(
            " · ",
            "{} {} {}",
            (
                (
                    link(invoice, invoice.number or str(invoice.consolidated_into or "open")),
                    invoice.label,
                    invoice.get_status_display().lower(),
                )
                for invoice in found.order_by("-sequence_number", "-part")[:24]
            ),
        )
