"""Screens of what decides taxes, and of the decisions that lines keep."""

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from unfold.decorators import display

from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import BillingModelAdmin, ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link
from apps.kernel.money import format_decimal
from apps.taxes.admin.forms import DatedForm, RuledForm
from apps.taxes.models import TaxCategory, TaxExemption, TaxRate, TaxRegistration, TaxTreatment
from apps.taxes.services import exemptions, rates, registrations


class TaxAdmin(BillingModelAdmin):
    """Base of the screens of tax rules.

    Attributes:
        asked: fields of the form.
        fixed: those that a stored row shows and does not ask for.
    """

    change_right: ClassVar[str | None] = "edit_catalog"
    add_right: ClassVar[str | None] = "edit_catalog"
    asked: ClassVar[list[str]] = []
    fixed: ClassVar[list[str]] = []
    date_hierarchy = "created_at"
    ordering = ["-id"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if not self.has_change_permission(request, obj):
            shown = [name for name in self.asked if name not in ("valid_from", "valid_to")]
            return [*shown, "period", "public_id"]
        return self.asked if obj is None else [*self.asked, "public_id", "created_at", "updated_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [] if obj is None else [*self.fixed, "public_id", "created_at", "updated_at", "period"]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        """It is made or changed by the form."""

    @display(description="In force", ordering="valid")
    def period(self, row: Any) -> str:
        first, last = row.valid.lower, row.valid.upper
        return f"{first or 'ever'} – {'until further notice' if last is None else f'before {last}'}"

    @display(description="Place", ordering="country")
    def place(self, row: Any) -> str:
        return "-".join(part for part in (row.country, row.region) if part) or "everywhere"


class RegistrationForm(DatedForm):
    create = staticmethod(lambda data: registrations.create_registration(**_owned(data)))
    update = staticmethod(lambda key, data: registrations.update_registration(registration_id=key, changes=data))

    class Meta:
        model = TaxRegistration
        fields = ["organization", "country", "region", "scheme", "tax_id", "businesses"]


def _owned(data: dict[str, Any]) -> dict[str, Any]:
    """Give fields with their merchant by its key."""
    rest = {name: value for name, value in data.items() if name != "organization"}
    return {"organization_id": data["organization"].pk, **rest}


def _delete_registration(call: Call) -> str:
    registrations.delete_registration(registration_id=call.row.pk)
    return "The registration is gone; issued invoices stay as they are."


def _delete_rate(call: Call) -> str:
    rates.delete_rate(rate_id=call.row.pk)
    return "The rate is gone; issued invoices stay as they are."


def _delete_category(call: Call) -> str:
    rates.delete_category(category_id=call.row.pk)
    return "The category is gone; issued invoices stay as they are."


def _delete_exemption(call: Call) -> str:
    exemptions.delete_exemption(exemption_id=call.row.pk)
    return "The exemption is gone; issued invoices stay as they are."


@admin.register(TaxRegistration)
class TaxRegistrationAdmin(TaxAdmin):
    """Where merchants collect tax."""

    empty_text = "Without a registration the rates of plans and customers count. Add one to tax by jurisdiction."
    form = RegistrationForm
    list_display = ["place", "tax_id", "scheme", "businesses", "period", "organization"]
    list_filter = ["organization", "country", "scheme"]
    search_fields = ["public_id", "country", "tax_id"]
    list_select_related = ["organization"]
    asked = ["organization", "country", "region", "scheme", "tax_id", "businesses", "valid_from", "valid_to"]
    fixed = ["organization", "country", "region", "scheme"]
    actions_detail = ["take_back"]

    take_back = service_action(
        title="Take back",
        permissions=["edit_catalog"],
        description="For a mistake. One that is over is ended by its last day instead.",
        run=_delete_registration,
        icon="delete",
    )


class CategoryForm(RuledForm):
    create = staticmethod(lambda data: rates.create_category(**_owned(data)))
    update = staticmethod(lambda key, data: rates.update_category(category_id=key, changes=data))

    class Meta:
        model = TaxCategory
        fields = ["organization", "code", "name", "is_exempt", "is_goods", "reason", "reason_code"]


@admin.register(TaxCategory)
class TaxCategoryAdmin(TaxAdmin):
    """Kinds of products as tax law sees them."""

    empty_text = "Add one for products with a rate of their own, or that are exempt; plans name it by its code."
    form = CategoryForm
    list_display = ["name", "code", "is_exempt", "is_goods", "organization"]
    list_filter = ["organization", "is_exempt", "is_goods"]
    search_fields = ["public_id", "code", "name"]
    list_select_related = ["organization"]
    asked = ["organization", "code", "name", "is_exempt", "is_goods", "reason", "reason_code"]
    fixed = ["organization", "code"]
    actions_detail = ["take_back"]

    take_back = service_action(
        title="Take back",
        permissions=["edit_catalog"],
        description="Rates of it go first; plans that name its code are taxed as everything else.",
        run=_delete_category,
        icon="delete",
    )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.asked if obj is None else [*self.asked, "public_id"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [] if obj is None else [*self.fixed, "public_id"]


class RateForm(DatedForm):
    create = staticmethod(lambda data: rates.create_rate(**_owned(data)))
    update = staticmethod(lambda key, data: rates.update_rate(rate_id=key, changes=data))

    class Meta:
        model = TaxRate
        fields = [
            "organization", "country", "region", "postal_prefix", "name", "category", "kind", "percent", "reason",
        ]  # fmt: skip


@admin.register(TaxRate)
class TaxRateAdmin(TaxAdmin):
    """What taxes are, by place, product and day."""

    empty_text = "Add the rates of where you are registered, or load those of the EU: manage.py load_tax_rates."
    form = RateForm
    list_display = ["place", "name", "percent_shown", "kind", "category", "postal_prefix", "period", "organization"]
    list_filter = ["organization", "country", "kind"]
    search_fields = ["public_id", "country", "name"]
    list_select_related = ["organization", "category"]
    asked = [
        "organization", "country", "region", "postal_prefix", "name", "category", "kind", "percent", "reason",
        "valid_from", "valid_to",
    ]  # fmt: skip
    fixed = ["organization", "country", "region", "postal_prefix", "name", "category"]
    actions_detail = ["take_back"]

    take_back = service_action(
        title="Take back",
        permissions=["edit_catalog"],
        description="For a mistake. A rate that is over is ended by its last day instead.",
        run=_delete_rate,
        icon="delete",
    )

    @display(description="Rate", ordering="percent")
    def percent_shown(self, row: TaxRate) -> str:
        return f"{format_decimal(row.percent)} %"


class ExemptionForm(DatedForm):
    create = staticmethod(lambda data: exemptions.create_exemption(**data))
    update = staticmethod(lambda key, data: exemptions.update_exemption(exemption_id=key, changes=data))

    class Meta:
        model = TaxExemption
        fields = ["customer", "country", "region", "category", "certificate", "reason"]


@admin.register(TaxExemption)
class TaxExemptionAdmin(TaxAdmin):
    """Customers that pay no tax somewhere."""

    change_right: ClassVar[str | None] = "edit_customer"
    add_right: ClassVar[str | None] = "edit_customer"
    empty_text = "Add one where a customer shows that it pays no tax, with its certificate."
    form = ExemptionForm
    list_display = ["customer_page", "place", "category", "certificate", "reason", "period"]
    list_filter = ["organization", "category", "country"]
    search_fields = ["public_id", "certificate", "customer__consumer__name"]
    list_select_related = ["customer__consumer"]
    asked = ["customer", "country", "region", "category", "certificate", "reason", "valid_from", "valid_to"]
    fixed = ["customer", "country", "region"]
    actions_detail = ["take_back"]

    take_back = service_action(
        title="Take back",
        permissions=["edit_customer"],
        description="For a mistake. One that is over is ended by its last day instead.",
        run=_delete_exemption,
        icon="delete",
    )

    @display(description="Customer", ordering="customer__consumer__name")
    def customer_page(self, row: TaxExemption) -> str:
        return link(row.customer)


@admin.register(TaxTreatment)
class TaxTreatmentAdmin(ReadOnlyModelAdmin):
    """What was decided about the tax of lines, and why."""

    empty_text = "Decisions are kept when invoices of registered merchants are calculated."
    list_display = ["jurisdiction", "category", "rate_shown", "basis", "reason", "organization", "created_at"]
    list_filter = ["organization", "category", "basis", "jurisdiction"]
    search_fields = ["jurisdiction", "=digest"]
    list_select_related = ["organization"]
    ordering = ["-id"]
    fields = ["organization", "category", "basis", "jurisdiction", "taxes", "said", "digest", "created_at"]
    readonly_fields = ["taxes", "said"]

    @display(description="Rate", ordering="rate")
    def rate_shown(self, row: TaxTreatment) -> str:
        return f"{format_decimal(row.rate)} %"

    @display(description="Reason")
    def reason(self, row: TaxTreatment) -> str:
        return str(row.facts["reason"])

    @display(description="Taxes")
    def taxes(self, row: TaxTreatment) -> str:
        rows = ((one.name, one.jurisdiction, format_decimal(one.percent)) for one in row.decision.components)
        return format_html_join(", ", "{} {} {} %", rows) or "none"

    @display(description="Decision")
    def said(self, row: TaxTreatment) -> str:
        facts = row.decision
        ids = (
            (word, text) for word, text in (("buyer", facts.buyer_tax_id), ("seller", facts.seller_tax_id)) if text
        )
        return format_html_join("", "{}{}", [(facts.reason, "")]) + format_html_join("", "; tax id of the {} {}", ids)
