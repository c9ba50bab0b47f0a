"""Units that are sold: the button on the page of a right, the list of all of them, and where they are seen."""

import secrets
from typing import Any

from django import forms
from django.contrib import admin
from django.utils.html import format_html
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSplitDateTimeWidget

from apps.entitlements.models import Entitlement, Grant
from apps.entitlements.selectors.entitlements import present_of
from apps.invoicing.admin.dialogs import ReasonForm
from apps.invoicing.models import LEAST_PRICE, MOST_PRICE, GrantPurchase, PurchaseStatus
from apps.invoicing.selectors.purchases import find_purchase_of, payment_pages
from apps.invoicing.services.buying import PurchaseTerms, purchase_grant
from apps.invoicing.services.voiding import void_invoice
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, listing, moment, money, quantity
from apps.kernel.money import format_decimal, format_money, format_unit_price
from apps.subscriptions.selectors.clocks import current_time

COLOURS = {"Open": "warning", "Paid": "success", "Expired": "danger", "Cancelled": "info"}


class SellForm(BaseDialogForm):
    amount = forms.DecimalField(
        min_value=0, max_digits=20, decimal_places=8, label="Units", widget=UnfoldAdminDecimalFieldWidget
    )
    price = forms.DecimalField(
        min_value=LEAST_PRICE, max_value=MOST_PRICE, max_digits=16, decimal_places=9, label="Price of all of them",
        help_text="In the currency of the subscription; taxed as its plan is.", widget=UnfoldAdminDecimalFieldWidget,
    )  # fmt: skip
    expires = forms.SplitDateTimeField(
        label="Usable until", required=False, widget=UnfoldAdminSplitDateTimeWidget, help_text="Empty: for ever."
    )
    pay_until = forms.SplitDateTimeField(
        label="To be paid until", required=False, widget=UnfoldAdminSplitDateTimeWidget, help_text="Empty: 30 days."
    )

    def clean_amount(self) -> Any:
        amount = self.cleaned_data["amount"]
        if not amount:
            raise forms.ValidationError("Give a number above zero.")
        return amount


def _sell(call: Call) -> str:
    terms = PurchaseTerms(
        amount=call.data["amount"],
        price=call.data["price"],
        idempotency_key=f"admin-{secrets.token_hex(8)}",
        expires_at=call.data["expires"],
        payment_expires_at=call.data["pay_until"],
    )
    sold, _ = purchase_grant(entitlement_id=call.row.pk, terms=terms, as_of=present_of(call.row))
    if sold.status == PurchaseStatus.PAID:
        return f"Invoice {sold.invoice} is paid from the customer's balance, and the units are there."
    return f"Invoice {sold.invoice} is to be paid until {moment(sold.payment_expires_at)}; then the units are there."


sell_action = service_action(
    title="Sell a grant",
    permissions=["bill"],
    description="An invoice is issued with a payment page. The customer can use the units once it is paid; if it is "
    "not paid in time it is voided.",
    run=_sell,
    form=SellForm,
    icon="shopping_cart",
    fits=lambda row: (
        row.is_metered
        and row.subscription is not None
        and row.subscription.status == "active"
        and (row.active_to is None or row.active_to > present_of(row))
    ),
)


def _cancel(call: Call) -> str:
    void_invoice(
        invoice_id=call.row.invoice_id,
        as_of=current_time(call.row.invoice.subscription),
        reason=call.data["reason"],
        by=call.actor.email,
    )
    return "Its invoice is voided; nothing was granted."


@admin.register(GrantPurchase)
class GrantPurchaseAdmin(ReadOnlyModelAdmin):
    """What customers bought beside their plans, or were about to."""

    empty_text = "Units are sold on the page of an entitlement, or over the API."
    list_display = ["shown", "customer_page", "state", "units", "price_shown", "invoice_page", "grant_page", "until"]
    list_filter = ["organization", "status", "currency", "placed_at"]
    search_fields = ["public_id", "idempotency_key", "invoice__number", "entitlement__public_id", "grant__public_id"]
    list_select_related = [
        "entitlement__feature", "entitlement__customer__consumer", "invoice__subscription__test_clock", "grant",
        "organization",
    ]  # fmt: skip
    date_hierarchy = "placed_at"
    ordering = ["-id"]
    readonly_fields = [
        "state", "entitlement_page", "invoice_page", "grant_page", "amount_exact", "price_exact", "unit_price_exact",
        "page",
    ]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["public_id", "state", "entitlement_page", "invoice_page", "grant_page", "page"]}),
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
    def shown(self, row: GrantPurchase) -> list[str]:
        return [row.entitlement.right_to.name, row.public_id]

    @display(description="Customer", ordering="entitlement__customer__consumer__name")
    def customer_page(self, row: GrantPurchase) -> str:
        return link(row.entitlement.customer)

    @display(description="Entitlement")
    def entitlement_page(self, row: GrantPurchase) -> str:
        return link(row.entitlement)

    @display(description="State", ordering="status", label=COLOURS)
    def state(self, row: GrantPurchase) -> str:
        return PurchaseStatus(row.status).label

    @display(description="Units", ordering="amount")
    def units(self, row: GrantPurchase) -> str:
        return quantity(row.amount)

    @display(description="Price", ordering="price")
    def price_shown(self, row: GrantPurchase) -> str:
        return money(row.price, row.currency)

    @display(description="Invoice")
    def invoice_page(self, row: GrantPurchase) -> str:
        return link(row.invoice)

    @display(description="Grant")
    def grant_page(self, row: GrantPurchase) -> str:
        return link(row.grant)

    @display(description="To be paid until", ordering="payment_expires_at")
    def until(self, row: GrantPurchase) -> str:
        return moment(row.payment_expires_at)

    @display(description="Units")
    def amount_exact(self, row: GrantPurchase) -> str:
        return format_decimal(row.amount)

    @display(description="Price")
    def price_exact(self, row: GrantPurchase) -> str:
        return format_unit_price(row.price, row.currency)

    @display(description="Price of one")
    def unit_price_exact(self, row: GrantPurchase) -> str:
        return format_unit_price(row.unit_price, row.currency)

    @display(description="Payment page")
    def page(self, row: GrantPurchase) -> str:
        return payment_pages(row)[0].get_status_display() if payment_pages(row) else "Paid from the balance"


@display(description="Bought")
def bought(screen: Any, row: Grant) -> str:
    """Say what a grant was bought for, and by which invoice."""
    sold = find_purchase_of(row)
    if sold is None or row.price is None:
        return "Given"
    return format_html(
        "for {} · {} · invoice {}", format_money(row.price, row.currency), link(sold), link(sold.invoice)
    )


@display(description="Sold")
def sold_of(screen: Any, row: Entitlement) -> str:
    """Lead to what was sold of a right."""
    return listing(GrantPurchase, "Purchases", entitlement__id__exact=row.pk)


def show_on_rights() -> None:
    """Put button and fields on the pages of rights and grants, whose app does not know of invoices."""
    screen: Any = admin.site._registry[Entitlement]
    type(screen).sell_grant, type(screen).sold_of = sell_action, sold_of
    screen.actions_detail = [*screen.actions_detail, "sell_grant"]
    screen.readonly_fields = [*screen.readonly_fields, "sold_of"]
    grants: Any = admin.site._registry[Grant]
    type(grants).bought = bought
    grants.readonly_fields = [*grants.readonly_fields, "bought"]


show_on_rights()
