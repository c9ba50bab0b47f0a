"""Usage before its period is over: thresholds that bill it, and alerts."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from apps.catalog.domain.thresholds import SCOPES, BillingThresholds
from apps.catalog.selectors.catalog import metrics_of
from apps.catalog.services.plans import Unchanged
from apps.invoicing.models import (
    Alert,
    AlertDirection,
    AlertFiring,
    AlertScope,
    AlertType,
    PassedThreshold,
    UsageLook,
)
from apps.invoicing.services.alerting import AlertTerms, create_alert, delete_alert, update_alert
from apps.invoicing.services.thresholds import set_thresholds
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, moment, money, quantity
from apps.kernel.adminsite.forms import MarksForm, told
from apps.kernel.errors import InvalidError
from apps.kernel.money import format_decimal, minor_digits
from apps.subscriptions.selectors.clocks import current_time

PLAN, NONE, OWN = "plan", "none", "own"


class SubscriptionThresholdsForm(MarksForm):
    """Whose thresholds hold."""

    bills = forms.ChoiceField(
        label="Bill early",
        choices=[(PLAN, "as the plan says"), (NONE, "never"), (OWN, "at the amounts below")],
        widget=UnfoldAdminSelectWidget,
    )
    scope = forms.ChoiceField(
        label="Counting", choices=[(scope, scope) for scope in SCOPES], widget=UnfoldAdminSelectWidget
    )
    field_order = ["bills", "values", "every", "scope"]


def change_thresholds(call: Call) -> str:
    """Give the subscription of a page thresholds of its own, or its plan's."""
    data = call.data
    if data["bills"] != OWN:
        set_thresholds(subscription_id=call.row.pk, thresholds=None if data["bills"] == NONE else Unchanged.UNCHANGED)
        return "Usage is not billed early." if data["bills"] == NONE else "It goes by its plan."
    sent = {"amounts": data["values"].split(), "every": data["every"] or None, "scope": data["scope"]}
    try:
        thresholds = BillingThresholds.parse(sent, digits=minor_digits(call.row.currency))
    except InvalidError as error:
        raise told(error) from error
    set_thresholds(subscription_id=call.row.pk, thresholds=thresholds)
    return "The next look at its usage goes by these thresholds."


class AlertForm(MarksForm):
    """What somebody wants to be told of."""

    name = forms.CharField(max_length=255, widget=UnfoldAdminTextInputWidget)
    type = forms.ChoiceField(label="Watches", choices=AlertType.choices, widget=UnfoldAdminSelectWidget)
    metric = forms.CharField(
        max_length=64, required=False, widget=UnfoldAdminTextInputWidget,
        help_text="Id of the metric; empty for the amount of all usage.",
    )  # fmt: skip
    scope = forms.ChoiceField(label="Counting", choices=AlertScope.choices, widget=UnfoldAdminSelectWidget)
    direction = forms.ChoiceField(choices=AlertDirection.choices, widget=UnfoldAdminSelectWidget)
    field_order = ["name", "type", "metric", "values", "every", "scope", "direction"]


def add_alert(call: Call) -> str:
    """Set an alert on the subscription of a page."""
    data = call.data
    metric = None
    if data["metric"]:
        metric = metrics_of(organization_id=call.row.organization_id).filter(public_id=data["metric"]).first()
        if metric is None:
            raise InvalidError("There is no such metric.")
    terms = AlertTerms(
        name=data["name"],
        type=data["type"],
        metric=metric,
        scope=data["scope"],
        direction=data["direction"],
        thresholds=data["values"].split(),
        every=data["every"] or None,
    )
    try:
        alert = create_alert(subscription_id=call.row.pk, terms=terms, as_of=current_time(call.row))
    except InvalidError as error:
        raise told(error) from error
    return f"Alert {alert.name} is set."


def _change(call: Call) -> str:
    changes = {"thresholds": call.data["values"].split(), "every": call.data["every"] or None}
    try:
        update_alert(alert_id=call.row.pk, changes=changes, as_of=current_time(call.row.subscription))
    except InvalidError as error:
        raise told(error) from error
    return "It fires at these values from the next look on."


def _remove(call: Call) -> str:
    delete_alert(alert_id=call.row.pk, as_of=current_time(call.row.subscription))
    return "It fires no more; its history stays."


@admin.register(Alert)
class AlertAdmin(ReadOnlyModelAdmin):
    """What is told of subscriptions' usage."""

    empty_text = "Alerts are set on the page of a subscription, or over the API."
    list_display = ["shown", "subscription_page", "watches", "marks", "scope", "last_seen", "state"]
    list_filter = ["organization", "type", "scope", ("deleted_at", admin.EmptyFieldListFilter)]
    search_fields = ["public_id", "name", "subscription__public_id", "subscription__name"]
    list_select_related = ["subscription", "metric", "organization"]
    date_hierarchy = "created_at"
    ordering = ["-id"]
    actions_detail = ["change_values", "remove"]
    readonly_fields = ["subscription_page", "fired"]

    change_values = service_action(
        title="Change values",
        permissions=["manage_subscription"],
        description="A value that fired in the period does not fire in it again.",
        run=_change,
        form=MarksForm,
        icon="edit_notifications",
        fits=lambda row: row.deleted_at is None,
    )
    remove = service_action(
        title="Remove",
        permissions=["manage_subscription"],
        description="It fires no more; what it fired stays in its history.",
        run=_remove,
        icon="notifications_off",
        fits=lambda row: row.deleted_at is None,
    )

    @display(description="Alert", header=True, ordering="name")
    def shown(self, row: Alert) -> list[str]:
        return [row.name, row.public_id]

    @display(description="Subscription")
    def subscription_page(self, row: Alert) -> str:
        return link(row.subscription)

    @display(description="Watches", ordering="type")
    def watches(self, row: Alert) -> str:
        what = row.get_type_display()
        return f"{what}: {row.metric}" if row.metric is not None else what

    @display(description="At")
    def marks(self, row: Alert) -> str:
        every = [f"then every {row.every}"] if row.every else []
        falls = "falling to " if row.direction == AlertDirection.FALLING else ""
        return falls + ", ".join([*row.thresholds, *every])

    @display(description="Last seen")
    def last_seen(self, row: Alert) -> str:
        return quantity(row.seen_value) if row.seen_value is not None else "—"

    @display(description="Status", label={"removed": "danger", "set": "success"})
    def state(self, row: Alert) -> str:
        return "set" if row.deleted_at is None else "removed"

    @display(description="Fired")
    def fired(self, row: Alert) -> str:
        found = row.firings.order_by("-pk")[:12]
        told_of = (f"{format_decimal(firing.threshold)} on {moment(firing.fired_at)}" for firing in found)
        return ", ".join(told_of) or "never"


@admin.register(AlertFiring)
class AlertFiringAdmin(ReadOnlyModelAdmin):
    """The history of alerts."""

    empty_text = "What alerts fired stands here, each value once a period."
    list_display = ["alert_page", "at_value", "seen", "period_number", "fired"]
    list_filter = ["organization"]
    search_fields = ["public_id", "alert__name", "alert__public_id", "alert__subscription__public_id"]
    list_select_related = ["alert"]
    date_hierarchy = "fired_at"
    ordering = ["-id"]

    @display(description="Alert", ordering="alert__name")
    def alert_page(self, row: AlertFiring) -> str:
        return link(row.alert)

    @display(description="At", ordering="threshold")
    def at_value(self, row: AlertFiring) -> str:
        return quantity(row.threshold)

    @display(description="Seen", ordering="value")
    def seen(self, row: AlertFiring) -> str:
        return quantity(row.value)

    @display(description="When", ordering="fired_at")
    def fired(self, row: AlertFiring) -> str:
        return moment(row.fired_at)


@admin.register(PassedThreshold)
class PassedThresholdAdmin(ReadOnlyModelAdmin):
    """The history of billing thresholds."""

    empty_text = "When usage passes a billing threshold it stands here, with the bill that it caused."
    list_display = ["subscription_page", "period_number", "at_amount", "amount_shown", "passed", "invoice_page"]
    list_filter = ["organization"]
    search_fields = ["subscription__public_id", "subscription__name"]
    list_select_related = ["subscription", "invoice"]
    date_hierarchy = "passed_at"
    ordering = ["-id"]

    @display(description="Subscription")
    def subscription_page(self, row: PassedThreshold) -> str:
        return link(row.subscription)

    @display(description="Threshold", ordering="threshold")
    def at_amount(self, row: PassedThreshold) -> str:
        return money(row.threshold, row.subscription.currency)

    @display(description="Usage", ordering="amount")
    def amount_shown(self, row: PassedThreshold) -> str:
        return money(row.amount, row.subscription.currency)

    @display(description="When", ordering="passed_at")
    def passed(self, row: PassedThreshold) -> str:
        return moment(row.passed_at)

    @display(description="Early bill")
    def invoice_page(self, row: PassedThreshold) -> str:
        return link(row.invoice) if row.invoice is not None else "all was billed"


@admin.register(UsageLook)
class UsageLookAdmin(ReadOnlyModelAdmin):
    """When the usage of open periods was looked at last, and what went wrong."""

    empty_text = "Subscriptions with billing thresholds, alerts or usage billed as it comes are looked at."
    list_display = ["subscription_page", "period_number", "looked", "due", "outcome"]
    list_filter = ["organization", ("problem", admin.EmptyFieldListFilter)]
    search_fields = ["subscription__public_id", "subscription__name"]
    list_select_related = ["subscription"]
    date_hierarchy = "looked_at"
    ordering = ["-looked_at"]

    def has_export_permission(self, request: HttpRequest) -> bool:
        """What a job remembers is nobody's report."""
        return False

    @display(description="Subscription")
    def subscription_page(self, row: UsageLook) -> str:
        return link(row.subscription)

    @display(description="Looked at", ordering="looked_at")
    def looked(self, row: UsageLook) -> str:
        return moment(row.looked_at)

    @display(description="Again at", ordering="due_at")
    def due(self, row: UsageLook) -> str:
        return moment(row.due_at)

    @display(description="Outcome", label={"failed": "danger"})
    def outcome(self, row: UsageLook) -> Any:
        return "failed" if row.problem else None
