from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from unfold.admin import TabularInline
from unfold.decorators import display

from apps.catalog.admin.base import CatalogAdmin
from apps.catalog.models import Plan, PlanVersion, PlanVersionPrice, Price
from apps.catalog.services.plans import PlanLine, create_plan, update_plan
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link
from apps.kernel.clock import wall_now
from apps.kernel.money import is_currency


class PlanForm(forms.ModelForm):
    prices = forms.ModelMultipleChoiceField(
        Price.objects.filter(deleted_at__isnull=True).order_by("invoice_display_name"),
        required=False,
        help_text="A changed set is published as a new version, which later periods bill by.",
    )

    class Meta:
        model = Plan
        exclude = ["deleted_at", "public_id", "default_version", "billing_version", "credit_allocations"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            field = self.fields["prices"]
            field.queryset = field.queryset.filter(organization_id=self.instance.organization_id)  # type: ignore[attr-defined]
            slots = PlanVersionPrice.objects.filter(plan_version_id=self.instance.default_version_id)
            self.initial["prices"] = list(slots.values_list("price_id", flat=True))

    def clean_currency(self) -> str:
        currency = str(self.cleaned_data["currency"])
        if not is_currency(currency):
            raise forms.ValidationError("Give an ISO 4217 code, such as USD.")
        return currency


@admin.register(Plan)
class PlanAdmin(CatalogAdmin):
    """Bundles of prices that customers subscribe to."""

    form = PlanForm
    list_display = ["name", "public_id", "product", "currency", "billing_cadence", "price_list", "version"]
    list_filter = ["organization", "currency", "billing_cadence", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["product", "default_version", "organization"]
    readonly_fields = ["public_id", "default_version"]

    @display(description="Prices")
    def price_list(self, plan: Plan) -> str:
        slots = PlanVersionPrice.objects.filter(plan_version_id=plan.default_version_id).select_related("price")
        return format_html_join(", ", "{}", ((link(slot.price),) for slot in slots))

    @display(description="Version")
    def version(self, plan: Plan) -> str:
        return link(plan.default_version, f"v{plan.default_version.number}") if plan.default_version else "—"

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        fields = dict(form.cleaned_data)
        prices = [price.public_id for price in fields.pop("prices")]
        if change:
            fields.pop("organization", None)
            update_plan(plan_id=obj.pk, changes=fields, price_ids=prices, as_of=wall_now())
            return
        fields.pop("organization", None)
        made = create_plan(lines=[PlanLine(price_id) for price_id in prices], as_of=wall_now(), **fields)
        obj.pk, obj.public_id = made.pk, made.public_id


class SlotInline(TabularInline):
    model = PlanVersionPrice
    fields = ["position", "key", "price"]
    readonly_fields = ["position", "key", "price"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


@admin.register(PlanVersion)
class PlanVersionAdmin(ReadOnlyModelAdmin):
    """Frozen editions of plans."""

    list_display = ["plan", "number", "status", "published_at", "public_id"]
    list_filter = ["organization", "status"]
    search_fields = ["plan__name", "public_id"]
    list_select_related = ["plan"]
    inlines = [SlotInline]
    date_hierarchy = "published_at"


@admin.register(PlanVersionPrice)
class PlanVersionPriceAdmin(ReadOnlyModelAdmin):
    """Which price fills which slot of which version."""

    list_display = ["plan_version", "position", "key", "price"]
    search_fields = ["key", "price__public_id", "plan_version__plan__name"]
    list_select_related = ["plan_version__plan", "price"]
