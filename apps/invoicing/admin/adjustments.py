from typing import Any

from django import forms
from django.contrib import admin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from apps.invoicing.admin.agreeing import AgreedAdmin, WindowForm, in_one_sentence, withdrawn
from apps.invoicing.models import AdjustmentType, SubscriptionAdjustment
from apps.invoicing.services.adjustments import Agreement, create_adjustment, withdraw_adjustment
from apps.invoicing.services.previewing import Preview, preview_adjustment
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.display import link, moment
from apps.kernel.errors import InvalidError
from apps.kernel.money import format_decimal
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time


class AdjustmentForm(WindowForm):
    """What is agreed with a subscriber."""

    type = forms.ChoiceField(choices=AdjustmentType.choices, widget=UnfoldAdminSelectWidget)
    value = forms.DecimalField(
        max_digits=40, decimal_places=6, min_value=0, widget=UnfoldAdminTextInputWidget,
        help_text="A fraction, such as 0.35 for 35 %, or units.",
    )  # fmt: skip
    price = forms.CharField(
        max_length=64, required=False, widget=UnfoldAdminTextInputWidget,
        help_text="Id of the price whose quantity changes; empty for a percentage.",
    )  # fmt: skip
    description = forms.CharField(
        max_length=1000, required=False, widget=UnfoldAdminTextInputWidget,
        help_text="What the subscriber reads beside the discount.",
    )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        is_percentage = data.get("type") == AdjustmentType.PERCENTAGE_DISCOUNT
        if is_percentage and "value" in data and not 0 < data["value"] <= 1:
            self.add_error("value", "A percentage is a fraction above 0, at most 1.")
        if data.get("type") == AdjustmentType.USAGE_DISCOUNT and data.get("value") == 0:
            self.add_error("value", "Must be above 0.")
        return data

    def previewed(self, row: Subscription, data: dict[str, Any]) -> Preview:
        return preview_adjustment(subscription_id=row.pk, agreement=_agreement(data), as_of=current_time(row))


def _agreement(data: dict[str, Any]) -> Agreement:
    return Agreement(
        type=data["type"],
        value=data["value"],
        effective_from=data["effective_from"],
        effective_to=data["effective_to"] or None,
        price_public_id=data["price"] or None,
        description=data["description"],
    )


def agree(call: Call) -> str:
    """Attach an adjustment to the subscription of a page."""
    try:
        row, _ = create_adjustment(
            subscription_id=call.row.pk, agreement=_agreement(call.data), as_of=current_time(call.row)
        )
    except InvalidError as error:
        raise in_one_sentence(error) from error
    return f"{row} is agreed from {moment(row.effective_from)}."


def _withdraw(call: Call) -> str:
    return withdrawn(withdraw_adjustment(adjustment_id=call.row.pk, as_of=current_time(call.row.subscription)))


@admin.register(SubscriptionAdjustment)
class SubscriptionAdjustmentAdmin(AgreedAdmin):
    """What is agreed with single subscribers beside their prices."""

    empty_text = "Adjustments are agreed on the page of a subscription, or over the API."
    list_display = [
        "shown", "subscription_page", "amount", "price_page", "line", "begins", "ends", "description",
    ]  # fmt: skip
    list_filter = ["organization", "type"]
    search_fields = ["public_id", "description", "subscription__public_id", "subscription__name"]
    readonly_fields = ["subscription_page", "price_page"]

    withdraw = service_action(
        title="Withdraw",
        permissions=["manage_subscription"],
        description="Periods to come are billed without it; what was billed with it stays.",
        run=_withdraw,
        icon="undo",
    )

    @display(description="Adjustment", header=True, ordering="type")
    def shown(self, row: SubscriptionAdjustment) -> list[str]:
        return [row.get_type_display(), row.public_id]

    @display(description="Value", ordering="value")
    def amount(self, row: SubscriptionAdjustment) -> str:
        if row.type == AdjustmentType.PERCENTAGE_DISCOUNT:
            return f"{format_decimal(row.value * 100)} %"
        return f"{format_decimal(row.value)} units"

    @display(description="Of")
    def price_page(self, row: SubscriptionAdjustment) -> str:
        return link(row.price) if row.price is not None else "every charge"

    @display(description="Line of the plan", ordering="price_key")
    def line(self, row: SubscriptionAdjustment) -> str:
        return row.price_key or "–"
