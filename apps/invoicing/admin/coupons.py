from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.customers.models import Customer
from apps.invoicing.domain.coupons import Used
from apps.invoicing.models import AppliedCoupon
from apps.invoicing.selectors.coupons import uses_of
from apps.invoicing.services.coupons import apply_coupon, remove_coupon, state_of
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, moment
from apps.kernel.money import format_money
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time, find_simulated_present


class CodeForm(BaseDialogForm):
    code = forms.CharField(label="Code", max_length=64, widget=UnfoldAdminTextInputWidget)


def _apply(call: Call) -> str:
    """Redeem a coupon for the customer, or the subscription, of a page."""
    code = call.data["code"].strip()
    if isinstance(call.row, Subscription):
        row = apply_coupon(customer=call.row.customer, code=code, as_of=current_time(call.row), subscription=call.row)
    else:
        as_of = find_simulated_present(call.row.pk) or call.now
        row = apply_coupon(customer=call.row, code=code, as_of=as_of)
    return f"{row.coupon.name} reduces the invoices of periods that are not over."


apply_action = service_action(
    title="Apply coupon",
    permissions=["manage_subscription"],
    description="The coupon is redeemed; it reduces the invoices of periods that are not over.",
    run=_apply,
    form=CodeForm,
    icon="redeem",
)


def _remove(call: Call) -> str:
    as_of = (
        current_time(call.row.subscription)
        if call.row.subscription is not None
        else find_simulated_present(call.row.customer_id) or call.now
    )
    left = remove_coupon(applied_coupon_id=call.row.pk, as_of=as_of)
    if left is None:
        return "No invoice used it; it is deleted, and somebody else can redeem it."
    return f"Periods that end after {moment(left.removed_at)} are billed without it."


@admin.register(AppliedCoupon)
class AppliedCouponAdmin(ReadOnlyModelAdmin):
    """Who redeemed which coupon, and what it took off."""

    empty_text = "Coupons are redeemed on the page of a customer or a subscription, or over the API."
    list_display = ["shown", "customer_page", "subscription_page", "placed_at", "taken_off", "state"]
    list_filter = ["organization", ("removed_at", admin.EmptyFieldListFilter)]
    search_fields = ["public_id", "coupon__code", "customer__consumer__name", "customer__public_id"]
    list_select_related = ["coupon", "customer__consumer", "subscription", "organization"]
    date_hierarchy = "created_at"
    actions_detail = ["remove"]
    readonly_fields = ["customer_page", "subscription_page", "taken_off", "state"]

    remove = service_action(
        title="Remove",
        permissions=["manage_subscription"],
        description="Periods that end from now on are billed without it; what was billed with it stays.",
        run=_remove,
        icon="undo",
        fits=lambda row: row.removed_at is None,
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("coupon__targets")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*self.readonly_fields, *(field.name for field in self.opts.fields)]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        rows = list(changelist.result_list)
        # Of the whole page in one query.
        uses = uses_of(rows)
        for row in rows:
            row.uses = uses[row.pk]
        changelist.result_list = rows
        return changelist

    @display(description="Coupon", header=True, ordering="coupon__code")
    def shown(self, row: AppliedCoupon) -> list[str]:
        return [row.coupon.code, row.coupon.name]

    @display(description="Customer")
    def customer_page(self, row: AppliedCoupon) -> str:
        return link(row.customer)

    @display(description="For")
    def subscription_page(self, row: AppliedCoupon) -> str:
        return link(row.subscription) if row.subscription is not None else "every subscription"

    @display(description="Took off so far")
    def taken_off(self, row: AppliedCoupon) -> str:
        uses = _uses(row)
        shown = ((format_money(used.amount, currency), used.invoices) for currency, used in uses.items())
        return format_html_join(", ", "{} on {} invoices", shown) or "nothing"

    @display(description="State", label={"active": "success", "used up": "info", "removed": "danger"})
    def state(self, row: AppliedCoupon) -> str:
        return state_of(row, _uses(row)).replace("_", " ")


def _uses(row: Any) -> dict[str, Used]:
    found: dict[str, Used] = row.uses if hasattr(row, "uses") else uses_of([row])[row.pk]
    return found


def offer_on_customers() -> None:
    """Put the button on the page of customers, whose app does not know of coupons."""
    screen: Any = admin.site._registry[Customer]
    type(screen).apply_coupon = apply_action
    screen.actions_detail = [*screen.actions_detail, "apply_coupon"]


offer_on_customers()
