"""What is sold beside plans: the buttons on the page of a right, the list of all of it, and where it is seen."""

import secrets
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSplitDateTimeWidget,
)

from apps.entitlements.models import Entitlement, Grant, SlotBurst
from apps.entitlements.selectors.entitlements import present_of
from apps.invoicing.admin.dialogs import ReasonForm
from apps.invoicing.models import LEAST_PRICE, MOST_PRICE, MOST_SLOTS, Purchase, PurchaseStatus
from apps.invoicing.selectors.purchases import find_purchase_of, payment_pages
from apps.invoicing.services.buying import PurchaseTerms, purchase_burst, purchase_grant
from apps.invoicing.services.voiding import void_invoice
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import figure, link, listing, moment, money
from apps.kernel.money import format_decimal, format_money, format_unit_price
from apps.subscriptions.selectors.clocks import current_time

COLOURS = {"Open": "warning", "Paid": "success", "Expired": "danger", "Cancelled": "info"}


def _price_field() -> forms.DecimalField:
    return forms.DecimalField(
        min_value=LEAST_PRICE, max_value=MOST_PRICE, max_digits=16, decimal_places=9, label="Price of all of them",
        help_text="In the currency of the subscription; taxed as its plan is.", widget=UnfoldAdminDecimalFieldWidget,
    )  # fmt: skip


def _moment_field(label: str, empty: str = "") -> forms.SplitDateTimeField:
    """Give a field of a moment, which may be left empty where something is said of that."""
    return forms.SplitDateTimeField(
        label=label, required=not empty, widget=UnfoldAdminSplitDateTimeWidget, help_text=empty
    )


class SellForm(BaseDialogForm):
    amount = forms.DecimalField(
        min_value=0, max_digits=20, decimal_places=8, label="Units", widget=UnfoldAdminDecimalFieldWidget
    )
    price = _price_field()
    expires = _moment_field("Usable until", "Empty: for ever.")
    pay_until = _moment_field("To be paid until", "Empty: 30 days.")

    def clean_amount(self) -> Any:
        amount = self.cleaned_data["amount"]
        if not amount:
            raise forms.ValidationError("Give a number above zero.")
        return amount


class SellBurstForm(BaseDialogForm):
    slots = forms.IntegerField(
        min_value=1, max_value=MOST_SLOTS, label="More slots", widget=UnfoldAdminIntegerFieldWidget
    )
    price = _price_field()
    starts = _moment_field("From", "Empty: from the payment on. One that comes later counts from then.")
    ends = _moment_field("Until")
    pay_until = _moment_field("To be paid until", "Empty: 30 days, or the end of the burst.")


def _sell(call: Call) -> str:
    terms = PurchaseTerms(
        amount=call.data["amount"],
        price=call.data["price"],
        idempotency_key=f"admin-{secrets.token_hex(8)}",
        expires_at=call.data["expires"],
        payment_expires_at=call.data["pay_until"],
    )
    sold, _ = purchase_grant(entitlement_id=call.row.pk, terms=terms, as_of=present_of(call.row))
    return _told(sold, "the units are there")


def _sell_burst(call: Call) -> str:
    terms = PurchaseTerms(
        amount=Decimal(call.data["slots"]),
        price=call.data["price"],
        idempotency_key=f"admin-{secrets.token_hex(8)}",
        effective_at=call.data["starts"],
        expires_at=call.data["ends"],
        payment_expires_at=call.data["pay_until"],
    )
    sold, _ = purchase_burst(entitlement_id=call.row.pk, terms=terms, as_of=present_of(call.row))
    return _told(sold, "the slots are there")


def _told(sold: Purchase, then: str) -> str:
    if sold.status == PurchaseStatus.PAID:
        return f"Invoice {sold.invoice} is paid from the customer's balance, and {then}."
    return f"Invoice {sold.invoice} is to be paid until {moment(sold.payment_expires_at)}; then {then}."


def _can_pay(row: Entitlement) -> bool:
    """Whether somebody could be sold more of a right."""
    is_live = row.active_to is None or row.active_to > present_of(row)
    return is_live and row.subscription is not None and row.subscription.status == "active"


sell_action = service_action(
    title="Sell a grant",
    permissions=["bill"],
    description="An invoice is issued with a payment page. The customer can use the units once it is paid; if it is "
    "not paid in time it is voided.",
    run=_sell,
    form=SellForm,
    icon="shopping_cart",
    fits=lambda row: row.is_metered and _can_pay(row),
)
sell_burst_action = service_action(
    title="Sell a burst",
    permissions=["bill"],
    description="An invoice is issued with a payment page. So many more slots may be held at once from its payment "
    "on, until the end of the burst; if it is not paid in time it is voided.",
    run=_sell_burst,
    form=SellBurstForm,
    icon="shopping_cart",
    fits=lambda row: row.slots is not None and _can_pay(row),
)


def _cancel(call: Call) -> str:
    void_invoice(
        invoice_id=call.row.invoice_id,
        as_of=current_time(call.row.invoice.subscription),
        reason=call.data["reason"],
        by=call.actor.email,
    )
    return "Its invoice is voided; nothing was delivered."


class SoldFilter(admin.SimpleListFilter):
    """Units, or bursts of slots."""

    title = "what is sold"
    parameter_name = "sold"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("units", "Units"), ("burst", "Bursts")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("units", "burst"):
            return queryset
        return queryset.filter(pool__isnull=self.value() == "units")


@admin.register(Purchase)
class PurchaseAdmin(ReadOnlyModelAdmin):
    """What customers bought beside their plans, or were about to."""

    empty_text = "Units and bursts are sold on the page of an entitlement, or over the API."
    list_display = ["shown", "customer_page", "state", "sold", "price_shown", "invoice_page", "bought_page", "until"]
    list_filter = ["organization", "status", SoldFilter, "currency", "placed_at"]
    search_fields = [
        "public_id", "idempotency_key", "invoice__number", "entitlement__public_id", "grant__public_id",
        "burst__public_id",
    ]  # fmt: skip
    list_select_related = [
        "entitlement__feature", "entitlement__customer__consumer", "invoice__subscription__test_clock", "grant",
        "burst", "organization",
    ]  # fmt: skip
    date_hierarchy = "placed_at"
    ordering = ["-id"]
    readonly_fields = [
        "state", "entitlement_page", "invoice_page", "bought_page", "amount_exact", "price_exact", "unit_price_exact",
        "page",
    ]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["public_id", "state", "entitlement_page", "invoice_page", "bought_page", "page"]}),
        ("Sold", {"fields": ["amount_exact", "price_exact", "unit_price_exact", "effective_at", "expires_at"]}),
        ("Resets", {"fields": ["rollover_min", "rollover_max"]}),
        ("Dates", {"fields": ["placed_at", "payment_expires_at", "ended_at"]}),
        ("Record", {"fields": ["idempotency_key", "success_url", "cancel_url", "created_at"]}),
    ]
    actions_detail = ["cancel_purchase"]

    cancel_purchase = service_action(
        title="Cancel purchase",
        permissions=["bill"],
        description="Its invoice is voided, and it cannot be paid any more.",
        run=_cancel,
        form=ReasonForm,
        icon="block",
        fits=lambda row: row.status == PurchaseStatus.OPEN,
    )

    @display(description="Purchase", header=True, ordering="id")
    def shown(self, row: Purchase) -> list[str]:
        return [row.entitlement.right_to.name, row.public_id]

    @display(description="Customer", ordering="entitlement__customer__consumer__name")
    def customer_page(self, row: Purchase) -> str:
        return link(row.entitlement.customer)

    @display(description="Entitlement")
    def entitlement_page(self, row: Purchase) -> str:
        return link(row.entitlement)

    @display(description="State", ordering="status", label=COLOURS)
    def state(self, row: Purchase) -> str:
        return PurchaseStatus(row.status).label

    @display(description="Sold", ordering="amount")
    def sold(self, row: Purchase) -> str:
        unit = "slots" if row.is_burst else "units"
        return format_html('<span class="mg-figure">{} {}</span>', figure(row.amount), unit)

    @display(description="Price", ordering="price")
    def price_shown(self, row: Purchase) -> str:
        return money(row.price, row.currency)

    @display(description="Invoice")
    def invoice_page(self, row: Purchase) -> str:
        return link(row.invoice)

    @display(description="Grant or burst")
    def bought_page(self, row: Purchase) -> str:
        return link(row.burst, f"{row.burst.slots} more slots") if row.burst is not None else link(row.grant)

    @display(description="To be paid until", ordering="payment_expires_at")
    def until(self, row: Purchase) -> str:
        return moment(row.payment_expires_at)

    @display(description="Units or slots")
    def amount_exact(self, row: Purchase) -> str:
        return format_decimal(row.amount)

    @display(description="Price")
    def price_exact(self, row: Purchase) -> str:
        return format_unit_price(row.price, row.currency)

    @display(description="Price of one")
    def unit_price_exact(self, row: Purchase) -> str:
        return format_unit_price(row.unit_price, row.currency)

    @display(description="Payment page")
    def page(self, row: Purchase) -> str:
        return payment_pages(row)[0].get_status_display() if payment_pages(row) else "Paid from the balance"


@display(description="Bought")
def bought(screen: Any, row: Grant | SlotBurst) -> str:
    """Say what a grant or burst was bought for, and by which invoice."""
    sold = find_purchase_of(row)
    if sold is None or row.price is None:
        return "Given"
    return format_html(
        "for {} · {} · invoice {}", format_money(row.price, row.currency), link(sold), link(sold.invoice)
    )


@display(description="Sold")
def sold_of(screen: Any, row: Entitlement) -> str:
    """Lead to what was sold of a right."""
    return listing(Purchase, "Purchases", entitlement__id__exact=row.pk)


def show_on_rights() -> None:
    """Put buttons and fields on the pages of rights, grants and bursts, whose app does not know of invoices."""
    screen: Any = admin.site._registry[Entitlement]
    type(screen).sell_grant, type(screen).sell_burst, type(screen).sold_of = sell_action, sell_burst_action, sold_of
    screen.actions_detail = [*screen.actions_detail, "sell_grant", "sell_burst"]
    screen.readonly_fields = [*screen.readonly_fields, "sold_of"]
    for model in (Grant, SlotBurst):
        shown: Any = admin.site._registry[model]
        type(shown).bought = bought
        shown.readonly_fields = [*shown.readonly_fields, "bought"]


show_on_rights()
