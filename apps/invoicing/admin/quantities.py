"""What is asked before a subscription's quantities or prices change, and what is said when they did."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from apps.invoicing.admin.dialogs import instant_of
from apps.invoicing.admin.previews import PreviewForm
from apps.invoicing.admin.subscribing import QuantitiesField
from apps.invoicing.services.changing import NOW, PERIOD_END
from apps.invoicing.services.intervals import schedule_price
from apps.invoicing.services.previewing import Preview, preview_intervals, preview_quantities
from apps.invoicing.services.requantifying import change_quantities, undo_quantity_change
from apps.kernel.adminsite.actions import Call
from apps.kernel.adminsite.display import moment
from apps.kernel.errors import InvalidError
from apps.kernel.money import format_unit_price
from apps.subscriptions.models import ChangeReason, Subscription
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.services.timeline import Occasion

INSTANT = "An instant such as 2026-03-01T00:00:00Z"


class QuantityForm(PreviewForm):
    items = QuantitiesField(label="Quantities")
    timing = forms.ChoiceField(
        label="When",
        choices=[(NOW, "Now"), (PERIOD_END, "At the end of the open period")],
        widget=UnfoldAdminSelectWidget,
    )
    effective_at = forms.CharField(
        label="Or on a date",
        required=False,
        help_text=f"{INSTANT}; goes before the choice above.",
        widget=UnfoldAdminTextInputWidget,
    )

    def previewed(self, row: Subscription, data: dict[str, Any]) -> Preview:
        return preview_quantities(**_asked(row, data))


class PriceForm(PreviewForm):
    price = forms.CharField(label="Price", help_text="Its key or id.", widget=UnfoldAdminTextInputWidget)
    unit_price = forms.DecimalField(
        label="Unit price", max_digits=27, decimal_places=15, widget=UnfoldAdminTextInputWidget
    )
    start = forms.CharField(label="From", help_text=f"{INSTANT}, ahead.", widget=UnfoldAdminTextInputWidget)
    end = forms.CharField(
        label="To",
        required=False,
        help_text=f"{INSTANT}; empty: up to the next price that is scheduled.",
        widget=UnfoldAdminTextInputWidget,
    )
    reason = forms.ChoiceField(
        label="Reason", choices=ChangeReason.choices, initial=ChangeReason.COMMERCIAL, widget=UnfoldAdminSelectWidget
    )
    description = forms.CharField(label="Note", required=False, max_length=5000, widget=UnfoldAdminTextInputWidget)

    def previewed(self, row: Subscription, data: dict[str, Any]) -> Preview:
        asked = _scheduled(row, data, by="")
        return preview_intervals(subscription_id=row.pk, edit=lambda: schedule_price(**asked), as_of=asked["as_of"])


def _asked(row: Subscription, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "subscription_id": row.pk,
        "items": data["items"],
        "as_of": current_time(row),
        "timing": data["timing"],
        "at": instant_of(data["effective_at"]),
    }


def _scheduled(row: Subscription, data: dict[str, Any], *, by: str) -> dict[str, Any]:
    return {
        "subscription_id": row.pk,
        "price_key": data["price"].strip(),
        "unit_price": data["unit_price"],
        "start": instant_of(data["start"]),
        "end": instant_of(data["end"]),
        "occasion": Occasion(by=by, reason=data["reason"], description=data["description"]),
        "as_of": current_time(row),
    }


def change(call: Call) -> str:
    """Have other quantities."""
    try:
        made = change_quantities(**_asked(call.row, call.data), by=str(call.actor))
    except InvalidError as error:
        raise _in_words(error) from error
    if made.record is None:
        return "The quantities are so already."
    return f"The quantities are changed from {moment(made.effective_at)} on."


def undo(call: Call) -> str:
    """Take back what lies ahead."""
    undo_quantity_change(subscription_id=call.row.pk, as_of=current_time(call.row), by=str(call.actor))
    return "What lay ahead of its quantities is taken back."


def schedule(call: Call) -> str:
    """Let a price cost something else from a date on."""
    asked = _scheduled(call.row, call.data, by=str(call.actor))
    try:
        schedule_price(**asked)
    except InvalidError as error:
        raise _in_words(error) from error
    price = format_unit_price(asked["unit_price"], call.row.currency)
    return f"{asked['price_key']} costs {price} from {moment(asked['start'])} on."


def _in_words(error: InvalidError) -> InvalidError:
    return InvalidError(" ".join(problem.message for problem in error.errors) or error.message)
