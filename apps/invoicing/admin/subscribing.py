"""A customer takes a plan, by hand."""

from decimal import Decimal
from typing import Any

from django import forms
from django.db import transaction
from rest_framework.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextareaWidget

from apps.catalog.models import BillableMetric, Price
from apps.invoicing.services.subscribing import subscribe
from apps.kernel.adminsite.forms import check_by_rules
from apps.kernel.clock import wall_now
from apps.kernel.http.fields import DecimalStringField
from apps.subscriptions.models import Subscription
from apps.subscriptions.services.quantities import MOST_UNITS, ChosenItem
from apps.subscriptions.services.subscriptions import SubscriptionOptions

NEW_SUBSCRIPTION_FIELDS = (
    "customer", "plan", "name", "started_at", "ending_at", "trial_ends_at", "term_periods", "elapsed_period_billing",
    "payment_term_days", "version_policy", "tax_exempt", "auto_approve", "test_clock",
)  # fmt: skip
FIELDS_OF_RULES = {
    "startedAt": "started_at",
    "endingAt": "ending_at",
    "trialEndsAt": "trial_ends_at",
    "planId": "plan",
    "items": "items",
}


class QuantitiesField(forms.CharField):
    """Quantities as lines of a text, each the key or id of a price, or the id of a flat metric, and a number."""

    widget = UnfoldAdminTextareaWidget

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault(
            "help_text",
            "A line each: the key or id of a price or the id of a flat metric, and how many, such as: seats 10",
        )
        kwargs.setdefault("widget", UnfoldAdminTextareaWidget(attrs={"rows": 3}))
        super().__init__(max_length=10_000, **kwargs)

    def clean(self, value: Any) -> tuple[ChosenItem, ...]:
        found = []
        for line in super().clean(value).splitlines():
            if line.strip():
                found.append(_item(line))
        return tuple(found)


def _item(line: str) -> ChosenItem:
    """Read a line of quantities.

    Raises:
        ValidationError: it is not a name and a quantity.
    """
    name, _, text = line.strip().rpartition(" ")
    try:
        quantity = DecimalStringField(places=9, low=Decimal(0), high=MOST_UNITS).to_internal_value(text)
    except ValidationError:
        name = ""
    if not name.strip():
        raise forms.ValidationError(f"Give the key or id of a price and how many, not: {line}")
    name = name.strip()
    if name.startswith(f"{BillableMetric.PREFIX}_"):
        return ChosenItem(quantity, metric_id=name)
    if name.startswith(f"{Price.PREFIX}_"):
        return ChosenItem(quantity, price_id=name)
    return ChosenItem(quantity, price_key=name)


class NewSubscriptionForm(forms.ModelForm):
    """Asks for who, what and when; everything else follows from the plan."""

    items = QuantitiesField(label="Quantities", required=False)

    class Meta:
        model = Subscription
        fields = NEW_SUBSCRIPTION_FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("customer", "plan", "test_clock"):
            field: Any = self.fields[name]
            field.queryset = field.queryset.filter(deleted_at__isnull=True)
        self.fields["started_at"].initial = wall_now
        self.fields["name"].required = False
        self.fields["name"].help_text = "Empty: that of the plan."
        self.fields["trial_ends_at"].help_text = "Empty: as the plan says, once for each customer and product."
        self.fields["term_periods"].help_text = "Empty: as the plan says, unless it ends at a date; 0: none."
        self.fields["test_clock"].help_text = "For a try in simulated time; its present is the subscription's."

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        customer = data.get("customer")
        for name in ("plan", "test_clock"):
            chosen = data.get(name)
            if customer is not None and chosen is not None and chosen.organization_id != customer.organization_id:
                self.add_error(name, "Choose one of the customer's merchant.")
        return data

    def _post_clean(self) -> None:
        # Nothing is written to the form's own row: the use-case makes it, as the last step of checking the form, so
        # that every refusal stands on it.
        if not self.errors:
            check_by_rules(self, self._subscribe, FIELDS_OF_RULES)

    @transaction.atomic
    def _subscribe(self) -> None:
        data = self.cleaned_data
        clock = data["test_clock"]
        made, is_new = subscribe(
            customer=data["customer"],
            plan=data["plan"],
            name=data["name"] or data["plan"].name,
            started_at=data["started_at"],
            as_of=clock.current_time if clock is not None else wall_now(),
            options=SubscriptionOptions(
                ending_at=data["ending_at"],
                trial_ends_at=data["trial_ends_at"],
                term_periods=data["term_periods"],
                test_clock=clock,
                elapsed_period_billing=data["elapsed_period_billing"] or "none",
                tax_exempt=data["tax_exempt"],
                auto_approve=data["auto_approve"],
                payment_term_days=data["payment_term_days"],
                version_policy=data["version_policy"],
                items=data["items"],
            ),
        )
        if is_new:
            self.instance = made
        else:
            self.add_error("plan", f"The customer has it already: {made.public_id}.")

    def save(self, commit: bool = True) -> Subscription:
        """Give the subscription that was made."""
        made: Subscription = self.instance
        return made

    def save_m2m(self) -> None:
        """There is nothing beside the row itself."""
