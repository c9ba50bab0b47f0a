from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget

from apps.catalog.admin.base import CatalogAdmin
from apps.catalog.models import CreditAllocation, PlanVersion, PricingUnit
from apps.catalog.selectors.units import allocations_of, prices_in, units_of
from apps.catalog.services.credits import AllocationTerms
from apps.catalog.services.plans import update_plan
from apps.catalog.services.units import archive_unit, check_unit, create_unit, rename_unit
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, quantity, related_lists
from apps.kernel.adminsite.forms import check_by_rules, told
from apps.kernel.errors import InvalidError

SHOWN_PRICES = 20


class PricingUnitForm(forms.ModelForm):
    class Meta:
        model = PricingUnit
        fields = ["organization", "key", "name"]

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            check_by_rules(self, lambda: check_unit(self.instance), {"key": "key", "name": "name"})


def _archive(call: Call) -> str:
    archive_unit(unit_id=call.row.pk, as_of=call.now)
    return f"{call.row.key} is archived; prices and pools that have it go on."


@admin.register(PricingUnit)
class PricingUnitAdmin(CatalogAdmin):
    """What credits are counted in."""

    empty_text = "Prices in a pricing unit draw credits of a customer's pool instead of costing money."
    form = PricingUnitForm
    list_display = ["key", "name", "public_id", "priced", "state"]
    list_filter = ["organization", ("archived_at", admin.EmptyFieldListFilter)]
    search_fields = ["key", "name", "public_id"]
    list_select_related = ["organization"]
    readonly_fields = ["public_id", "archived_at", "priced", "neighbours"]
    exclude = []
    actions_detail = ["archive"]

    archive = service_action(
        title="Archive",
        permissions=["edit_catalog"],
        description="No price or plan takes it any more; those that have it, and pools, go on.",
        run=_archive,
        icon="archive",
        fits=lambda row: row.archived_at is None,
    )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        own = ["organization", "key", "name"]
        return own if obj is None else ["public_id", *own, "archived_at", "priced", "neighbours"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*self.readonly_fields, "organization", "key"] if obj is not None else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        data = form.cleaned_data
        if change:
            rename_unit(unit_id=obj.pk, name=data["name"])
            return
        made = create_unit(organization_id=data["organization"].pk, key=data["key"], name=data["name"])
        obj.pk, obj.public_id = made.pk, made.public_id

    @display(description="Prices in it")
    def priced(self, unit: PricingUnit) -> str:
        shown = prices_in(unit)[:SHOWN_PRICES]
        return format_html_join(", ", "{}", ((link(price),) for price in shown)) or "none"

    @display(description="State", label={"live": "success", "archived": "danger"})
    def state(self, unit: PricingUnit) -> str:
        return "live" if unit.archived_at is None else "archived"

    @display(description="See also")
    def neighbours(self, unit: PricingUnit) -> str:
        # The list of a higher app, by address: this app does not know its models.
        return related_lists(("Pools", "entitlements_creditpool", "pricing_unit__id__exact", unit.pk))


@admin.register(CreditAllocation)
class CreditAllocationAdmin(ReadOnlyModelAdmin):
    """Credits that plan versions give."""

    empty_text = "A plan gives credits by its page's Credits, or by creditAllocations over the API."
    list_display = ["plan_version", "pricing_unit", "credits", "recurs"]
    list_filter = ["organization", "pricing_unit"]
    search_fields = ["plan_version__plan__name", "pricing_unit__key"]
    list_select_related = ["plan_version__plan", "pricing_unit", "organization"]

    @display(description="Credits", ordering="amount")
    def credits(self, row: CreditAllocation) -> str:
        return quantity(row.amount)

    @display(description="Again after", ordering="recurrence")
    def recurs(self, row: CreditAllocation) -> str:
        return row.recurrence or "once"


class PlanCreditsForm(BaseDialogForm):
    credits = forms.CharField(
        label="Credits",
        required=False,
        help_text="One a line: the key of the pricing unit, how many, and what they recur by if they do, as "
        "“tokens 10000 P1M”. Empty: none.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
    )


def change_credits(call: Call) -> str:
    """Publish a version of the plan that gives other credits."""
    plan = call.row
    units = {unit.key: unit.public_id for unit in units_of(organization_id=plan.organization_id)}
    terms = []
    for row in filter(None, (line.split() for line in call.data["credits"].splitlines())):
        if not 2 <= len(row) <= 3:
            raise InvalidError("Give the key of a pricing unit, an amount, and a recurrence if there is one.")
        if row[0] not in units:
            raise InvalidError(f"There is no pricing unit {row[0]}.")
        try:
            amount = Decimal(row[1])
        except InvalidOperation:
            raise InvalidError(f"{row[1]} is no number.") from None
        terms.append(AllocationTerms(units[row[0]], amount, row[2] if len(row) == 3 else ""))
    try:
        changed = update_plan(plan_id=plan.pk, changes={}, price_ids=None, as_of=call.now, allocations=terms)
    except InvalidError as error:
        raise told(error) from error
    return f"The plan sells version {changed.default_version}: {words_of_credits(changed.default_version)}."


def words_of_credits(version: PlanVersion | None) -> str:
    """Give the credits of a version in words."""
    words = [
        f"{row.amount.normalize():f} {row.pricing_unit.key} {f'every {row.recurrence}' if row.recurrence else 'once'}"
        for row in allocations_of(version)
    ]
    return ", ".join(words) or "none"
