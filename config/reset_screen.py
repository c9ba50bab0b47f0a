"""The buttons that let a test environment begin anew; of all apps, so of none."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from apps.customers.models import Customer
from apps.invoicing.admin.previews import AskingForm
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.errors import ConflictError, ForbiddenError
from apps.organizations.models import Organization
from config.resetting import COUNTED, reset_customer, reset_merchant, rows_of_customer, rows_of_merchant


class ResetForm(AskingForm):
    """A dialog that lists what would be gone, and wants the name typed."""

    form_after_template = "admin/reset.html"
    is_ready = True
    can_ask = False
    # Asked without it, the dialog still says what it would delete.
    name = forms.CharField(
        label="Its name, to confirm", max_length=255, required=False, widget=UnfoldAdminTextInputWidget
    )


class ResetMerchantForm(ResetForm):
    can_ask = True
    keep_catalog = forms.BooleanField(
        label="Keep products, prices, plans, coupons and taxes",
        initial=True,
        required=False,
        widget=UnfoldBooleanSwitchWidget,
    )
    field_order = ("keep_catalog", "name")

    def find_row(self, object_id: str) -> Organization | None:
        return Organization.objects.filter(pk=object_id, is_merchant=True).first()

    def shown(self, row: Organization, data: dict[str, Any]) -> dict[str, Any]:
        return _shown(rows_of_merchant(organization_id=row.pk, keep_catalog=bool(data.get("keep_catalog"))))


class ResetCustomerForm(ResetForm):
    def find_row(self, object_id: str) -> Customer | None:
        return Customer.objects.filter(pk=object_id).first()

    def shown(self, row: Customer, data: dict[str, Any]) -> dict[str, Any]:
        return _shown(rows_of_customer(customer=row))


def _shown(found: Mapping[type[Model], int]) -> dict[str, Any]:
    """Name what has a screen; the rest is parts and history of it."""
    named = [
        (str(model._meta.verbose_name_plural).capitalize(), f"{count:,}" if count <= COUNTED else f"over {COUNTED:,}")
        for model, count in found.items()
        if admin.site.is_registered(model)
    ]
    return {"is_asked": True, "rows": sorted(named)}


def _reset_merchant(call: Call) -> str:
    merchant: Organization = call.row
    # Who manages a merchant that is also a customer of theirs does not own what it did.
    if not merchant.is_merchant or not call.actor.has_right("administer", merchant.pk):
        raise ForbiddenError("Only an owner of a merchant can reset it.")
    keep_catalog = bool(call.data["keep_catalog"])
    _confirm(call, merchant.name)
    reset_merchant(organization_id=merchant.pk, keep_catalog=keep_catalog)
    kept = "the catalog is kept" if keep_catalog else "the catalog as well"
    return f"All customers of {merchant.name} and everything they did are deleted; {kept}."


def _reset_customer(call: Call) -> str:
    customer: Customer = call.row
    _confirm(call, customer.consumer.name)
    reset_customer(customer=customer)
    return f"What {customer.consumer.name} did is deleted; the customer stays."


def _confirm(call: Call, name: str) -> None:
    if call.data["name"].strip() != name:
        raise ConflictError(f"Type {name} to confirm; nothing is deleted.", code="RESET_NOT_CONFIRMED")


reset_merchant_action = service_action(
    title="Reset",
    permissions=["administer"],
    description="Deletes for good all customers of this test environment with everything they did. Members, API keys"
    " and the logo stay.",
    run=_reset_merchant,
    form=ResetMerchantForm,
    icon="restart_alt",
    submit="Delete for good",
    fits=lambda row: row.is_merchant and row.environment == "test",
)
reset_customer_action = service_action(
    title="Reset",
    permissions=["administer"],
    description="Deletes for good what this customer of a test environment did, so that it can subscribe anew. The"
    " customer stays, with its details and tax exemptions.",
    run=_reset_customer,
    form=ResetCustomerForm,
    icon="restart_alt",
    submit="Delete for good",
    fits=lambda row: row.organization.environment == "test",
)


def offer() -> None:
    """Put the buttons on the pages of merchants and customers, whose apps do not know what is above them."""
    for model, made in ((Organization, reset_merchant_action), (Customer, reset_customer_action)):
        screen: Any = admin.site._registry[model]
        type(screen).reset = made
        screen.actions_detail = [*screen.actions_detail, "reset"]


offer()
