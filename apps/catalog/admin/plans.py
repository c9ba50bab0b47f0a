from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminSelectMultipleWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.catalog.admin.base import CatalogAdmin
from apps.catalog.admin.spend import SpendForm, SpendInline, own_fields
from apps.catalog.admin.thresholds import PlanThresholdsForm, change_thresholds, words_of_thresholds
from apps.catalog.admin.units import PlanCreditsForm, change_credits, words_of_credits
from apps.catalog.domain.cadences import find_cadence_problem, find_interval_problem
from apps.catalog.domain.days import find_day_problem
from apps.catalog.domain.trials import find_trial_problem
from apps.catalog.models import Plan, PlanVersion, PlanVersionPrice, Price
from apps.catalog.selectors.catalog import subscription_counts, versions_of
from apps.catalog.selectors.spend import spend_of_version
from apps.catalog.services.plans import PlanLine, create_plan, update_plan
from apps.catalog.services.spend import merged, spend_errors
from apps.catalog.services.versions import make_default, publish_version
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link
from apps.kernel.clock import wall_now
from apps.kernel.errors import InvalidError
from apps.kernel.money import is_currency
from apps.kernel.time import Cadence


def _slots(plan: Plan) -> QuerySet[PlanVersionPrice]:
    return PlanVersionPrice.objects.filter(plan_version_id=plan.default_version_id).order_by("position")


class PriceChoiceField(forms.ModelMultipleChoiceField):
    """Prices to choose from, told apart by what they cost and by their id."""

    def label_from_instance(self, obj: Any) -> str:
        tiers = obj.properties.get("tiers")
        figures = f"{len(tiers)} tiers" if tiers else ", ".join(str(value) for value in obj.properties.values())
        return f"{obj.invoice_display_name} · {obj.model} {figures} · {obj.public_id}"


class PlanForm(SpendForm):
    prices = PriceChoiceField(
        Price.objects.filter(deleted_at__isnull=True)
        .select_related("metric", "fee")
        .order_by("invoice_display_name"),
        required=False,
        widget=UnfoldAdminSelectMultipleWidget(attrs={"size": 8}),
        help_text="A changed set is published as a new version, which later periods bill by.",
    )

    # Whose prices may be chosen; None: everybody's.
    visible_organization_ids: ClassVar[list[int] | None] = None

    class Meta:
        model = Plan
        exclude = ["deleted_at", "public_id", "default_version", "billing_version"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["prices"]
        if self.visible_organization_ids is not None:
            field.queryset = field.queryset.filter(organization_id__in=self.visible_organization_ids)
        if self.instance.pk:
            field.queryset = field.queryset.filter(organization_id=self.instance.organization_id)
            self.initial["prices"] = [slot.price_id for slot in _slots(self.instance)]
            self.start_with(spend_of_version(self.instance.default_version))

    def chosen(self) -> list[str]:
        """Give the chosen prices: those the plan has in their order, then the new ones."""
        chosen = {price.pk: price.public_id for price in self.cleaned_data["prices"]}
        kept = [slot.price_id for slot in _slots(self.instance)] if self.instance.pk else []
        return [chosen[key] for key in [*(k for k in kept if k in chosen), *(k for k in chosen if k not in kept)]]

    def clean_billing_cadence(self) -> str:
        cadence = str(self.cleaned_data["billing_cadence"])
        problem = find_cadence_problem(cadence)
        if problem is not None:
            raise forms.ValidationError(problem)
        return cadence

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if "billing_cadence" in data:
            cadence = Cadence.parse(data["billing_cadence"])
            problem = find_day_problem(cadence, data.get("billing_day"), data.get("billing_month"))
            if problem is not None:
                self.add_error("billing_day", problem)
        if not self.errors:
            terms = merged({}, self.chosen_spend())
            for wrong in spend_errors(terms, currency=data["currency"], cadence=data["billing_cadence"]):
                self.add_error(None, f"{wrong.field}: {wrong.message}")
        return data

    def clean_trial_period(self) -> str:
        period = str(self.cleaned_data["trial_period"])
        problem = find_trial_problem(period)
        if problem is not None:
            raise forms.ValidationError(problem)
        return period

    def clean_usage_billing_interval(self) -> str:
        interval = str(self.cleaned_data["usage_billing_interval"])
        problem = find_interval_problem(interval)
        if problem is not None:
            raise forms.ValidationError(problem)
        return interval

    def clean_currency(self) -> str:
        currency = str(self.cleaned_data["currency"])
        if not is_currency(currency):
            raise forms.ValidationError("Give an ISO 4217 code, such as USD.")
        return currency


class MintForm(BaseDialogForm):
    prices = forms.CharField(
        label="Prices",
        help_text="Every price of the version, one a line: its id, then the key of its line if it has one.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6}),
    )
    based_on = forms.CharField(
        label="Made from version",
        required=False,
        help_text="Id of the version you looked at; refused when another was published meanwhile.",
        widget=UnfoldAdminTextInputWidget,
    )


def _mint(call: Call) -> str:
    rows = [row.split() for row in call.data["prices"].splitlines() if row.strip()]
    if any(len(row) > 2 for row in rows):
        raise InvalidError("Give a price id and at most a key in each line.")
    lines = [PlanLine(row[0], row[1] if len(row) > 1 else None) for row in rows]
    version = publish_version(
        plan_id=call.row.pk, lines=lines, based_on=call.data["based_on"].strip() or None, as_of=call.now
    )
    return f"Version {version.number} is published and sold from now on."


def _make_default(call: Call) -> str:
    make_default(plan_id=call.row.plan_id, number=call.row.number, as_of=call.now)
    return f"The plan sells version {call.row.number}."


@admin.register(Plan)
class PlanAdmin(CatalogAdmin):
    """Bundles of prices that customers subscribe to."""

    empty_text = "A plan is a set of prices that customers subscribe to."
    form = PlanForm
    list_display = ["name", "public_id", "product", "currency", "billing_cadence", "price_list", "version"]
    list_filter = ["organization", "currency", "billing_cadence", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["product", "default_version", "organization"]
    readonly_fields = ["public_id", "default_version", "versions", "thresholds", "credits"]
    actions_detail = ["mint_version", "billing_thresholds", "credit_allocations"]
    exclude = ["deleted_at", "billing_version"]

    mint_version = service_action(
        title="Mint version",
        permissions=["edit_catalog"],
        description="The prices below become the plan's next version, which new subscriptions take from now on; "
        "floating ones follow as the plan's transition says.",
        run=_mint,
        form=MintForm,
        icon="new_label",
    )

    billing_thresholds = service_action(
        title="Billing thresholds",
        permissions=["edit_catalog"],
        description="Usage is billed before the end of its period when it reaches an amount. Other thresholds are a "
        "new version of the plan.",
        run=change_thresholds,
        form=PlanThresholdsForm,
        icon="stacked_line_chart",
    )

    credit_allocations = service_action(
        title="Credits",
        permissions=["edit_catalog"],
        description="Each subscriber is given them when the subscription begins. Other credits are a new version of "
        "the plan.",
        run=change_credits,
        form=PlanCreditsForm,
        icon="toll",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        slots = PlanVersionPrice.objects.select_related("price").order_by("position")
        return super().get_queryset(request).prefetch_related(Prefetch("default_version__slots", slots))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        made: Any = super().get_form(request, obj, change, **kwargs)
        person: Any = request.user
        # On the class made for this request: declared fields are shared by all of them.
        made.visible_organization_ids = person.visible_organization_ids()
        return made

    @display(description="Prices")
    def price_list(self, plan: Any) -> str:
        slots = plan.default_version.slots.all() if plan.default_version else ()
        return format_html_join(", ", "{}", ((link(slot.price),) for slot in slots))

    @display(description="Version")
    def version(self, plan: Plan) -> str:
        return link(plan.default_version, f"v{plan.default_version.number}") if plan.default_version else "—"

    @display(description="Billing thresholds")
    def thresholds(self, plan: Plan) -> str:
        return words_of_thresholds(plan.default_version)

    @display(description="Credits")
    def credits(self, plan: Plan) -> str:
        return words_of_credits(plan.default_version)

    @display(description="Versions")
    def versions(self, plan: Plan) -> str:
        rows = list(versions_of(plan_id=plan.pk)[:24])
        counts = subscription_counts([row.pk for row in rows])
        shown = (
            (link(row, f"v{row.number}"), " (default)" if row.pk == plan.default_version_id else "", counts[row.pk])
            for row in rows
        )
        return format_html_join(" · ", "{}{}: {} subscriptions", shown) or "—"

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        fields = own_fields(form)
        fields.pop("prices")
        prices, spend = form.chosen(), form.chosen_spend()
        if change:
            fields.pop("organization", None)
            update_plan(plan_id=obj.pk, changes=fields, price_ids=prices, as_of=wall_now(), spend=spend)
            return
        fields.pop("organization", None)
        made = create_plan(
            lines=[PlanLine(price_id) for price_id in prices], as_of=wall_now(), spend=merged({}, spend), **fields
        )
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

    empty_text = "Each change of a plan's prices makes a version."
    list_display = ["plan", "number", "status", "published_at", "public_id"]
    list_filter = ["organization", "status"]
    search_fields = ["plan__name", "public_id"]
    list_select_related = ["plan"]
    inlines = [SlotInline, SpendInline]
    date_hierarchy = "published_at"
    actions_detail = ["make_default_version"]

    make_default_version = service_action(
        title="Make default",
        permissions=["edit_catalog"],
        description="New subscriptions take this version from now on; floating ones follow as the plan's transition "
        "says, pinned ones stay.",
        run=_make_default,
        icon="flag",
        fits=lambda row: row.plan.default_version_id != row.pk,
    )


@admin.register(PlanVersionPrice)
class PlanVersionPriceAdmin(ReadOnlyModelAdmin):
    """Which price fills which slot of which version."""

    empty_text = "The prices of each version of a plan stand here."
    list_display = ["plan_version", "position", "key", "price"]
    search_fields = ["key", "price__public_id", "plan_version__plan__name"]
    list_select_related = ["plan_version__plan", "price"]
