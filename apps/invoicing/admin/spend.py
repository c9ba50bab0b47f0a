from typing import Any

from django import forms
from django.contrib import admin
from django.utils.html import format_html_join
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from apps.catalog.models import SpendKind
from apps.catalog.selectors.spend import SpendAmount, spend_of_version
from apps.invoicing.admin.agreeing import AgreedAdmin, WindowForm, in_one_sentence, withdrawn
from apps.invoicing.models import SpendAgreement
from apps.invoicing.selectors.spend import agreements_of
from apps.invoicing.services.previewing import Preview, preview_spend
from apps.invoicing.services.spend import SpendDeal, agree_spend, withdraw_spend
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.display import link, moment
from apps.kernel.errors import InvalidError
from apps.kernel.money import format_money
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time


class SpendDealForm(WindowForm):
    """What a subscriber commits to, or pays at most."""

    kind = forms.ChoiceField(label="What", choices=SpendKind.choices, widget=UnfoldAdminSelectWidget)
    amount = forms.DecimalField(
        max_digits=24, decimal_places=9, min_value=0, required=False, widget=UnfoldAdminTextInputWidget,
        help_text="For a full period; empty: none of the plan's or the price's holds.",
    )  # fmt: skip
    cadence = forms.CharField(
        label="Period", max_length=20, required=False, widget=UnfoldAdminTextInputWidget,
        help_text="Such as P1Y; empty: each billing period.",
    )  # fmt: skip
    price = forms.CharField(
        max_length=64, required=False, widget=UnfoldAdminTextInputWidget,
        help_text="Id of the price it is of; empty: the whole subscription.",
    )  # fmt: skip
    description = forms.CharField(max_length=1000, required=False, widget=UnfoldAdminTextInputWidget)

    def previewed(self, row: Subscription, data: dict[str, Any]) -> Preview:
        return preview_spend(subscription_id=row.pk, deal=_deal(data), as_of=current_time(row))


def _deal(data: dict[str, Any]) -> SpendDeal:
    return SpendDeal(
        kind=data["kind"],
        amount=None if data["amount"] is None else SpendAmount(data["amount"], data["cadence"]),
        effective_from=data["effective_from"],
        effective_to=data["effective_to"] or None,
        price_public_id=data["price"] or None,
        description=data["description"],
    )


def _agree(call: Call) -> str:
    try:
        row, _ = agree_spend(subscription_id=call.row.pk, deal=_deal(call.data), as_of=current_time(call.row))
    except InvalidError as error:
        raise in_one_sentence(error) from error
    return f"{row} is agreed from {moment(row.effective_from)}."


agree_action = service_action(
    title="Agree spend",
    permissions=["manage_subscription"],
    description="A least or a most amount in place of the plan's; it reaches periods that begin from its date on.",
    run=_agree,
    form=SpendDealForm,
    icon="handshake",
    fits=lambda row: row.status != "terminated",
)


def _withdraw(call: Call) -> str:
    return withdrawn(withdraw_spend(agreement_id=call.row.pk, as_of=current_time(call.row.subscription)))


def spend_in_words(subscription: Subscription) -> str:
    """Give what a subscription commits to and pays at most: what is agreed, and what its plan asks for."""
    currency = subscription.currency
    agreed = [
        (link(row), f"agreed, {row.cadence or 'each period'} from {moment(row.effective_from)}")
        for row in agreements_of(subscription=subscription)[:24]
    ]
    of_plan = [
        (
            f"{SpendKind(kind).label} {format_money(terms.amount, currency)}",
            f"of the plan, {terms.cadence or 'each period'}",
        )
        for kind, terms in spend_of_version(subscription.plan_version).items()
    ]
    return format_html_join(" · ", "{} ({})", [*agreed, *of_plan]) or "—"


@admin.register(SpendAgreement)
class SpendAgreementAdmin(AgreedAdmin):
    """Commitments and caps agreed with single subscribers."""

    empty_text = "Commitments and caps are agreed on the page of a subscription, or over the API."
    list_display = ["shown", "subscription_page", "of", "figure", "each", "begins", "ends", "description"]
    list_filter = ["organization", "kind"]
    search_fields = ["public_id", "description", "subscription__public_id", "subscription__name"]
    readonly_fields = ["subscription_page", "of"]

    withdraw = service_action(
        title="Withdraw",
        permissions=["manage_subscription"],
        description="Periods to come are billed without it; what was billed with it stays.",
        run=_withdraw,
        icon="undo",
    )

    @display(description="Agreement", header=True, ordering="kind")
    def shown(self, row: SpendAgreement) -> list[str]:
        return [SpendKind(row.kind).label, row.public_id]

    @display(description="Of")
    def of(self, row: SpendAgreement) -> str:
        return link(row.price) if row.price is not None else "the whole subscription"

    @display(description="Amount", ordering="amount")
    def figure(self, row: SpendAgreement) -> str:
        return "none" if row.amount is None else format_money(row.amount, row.subscription.currency)

    @display(description="For each", ordering="cadence")
    def each(self, row: SpendAgreement) -> str:
        return row.cadence or "billing period"
