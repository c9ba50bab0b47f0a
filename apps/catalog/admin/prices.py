import json
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from apps.catalog.admin.base import CatalogAdmin
from apps.catalog.admin.spend import SpendForm, SpendInline, own_fields
from apps.catalog.models import Price, PriceRevision
from apps.catalog.selectors.spend import spend_of_price
from apps.catalog.services.price_rules import check_price
from apps.catalog.services.prices import create_price, update_price
from apps.catalog.services.spend import merged
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link
from apps.kernel.adminsite.forms import check_by_rules
from apps.rating.grouped import NAMES as NAMES_OF_GROUPS
from apps.rating.price_models import REGISTRY

NAMES = {
    "billableMetricId": "metric",
    "feeId": "fee",
    "model": "model",
    "properties": "properties",
    "paymentTerm": "payment_term",
    "billingCadence": "billing_cadence",
    "quantity": "quantity",
    "isObligation": "is_obligation",
    "grantDiscountEnabled": "grant_discount_enabled",
    "tax": "outside_scope_label",
    "pricingUnitId": "pricing_unit",
    "invoiceDisplayGroup": "invoice_display_group",
    "minimumCommitment": "commitment_amount",
    "spendCap": "cap_amount",
}


GROUPS_EXAMPLE = {
    "unitPrice": "0.02",
    "groups": [{"match": {"model": "opus"}, "properties": {"unitPrice": "0.05"}}],
}


class PriceForm(SpendForm):
    model = forms.ChoiceField(
        choices=[(code, code.replace("_", " ")) for code in REGISTRY], widget=UnfoldAdminSelectWidget
    )

    class Meta:
        model = Price
        exclude = ["deleted_at", "public_id", "revision_number"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "properties" in self.fields:
            self.fields["properties"].help_text = examples()
            if self.instance.pk is None:
                self.initial.setdefault("properties", {})
        if self.instance.pk is not None:
            self.start_with(spend_of_price(self.instance))

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            check_by_rules(self, lambda: check_price(self.instance, merged({}, self.chosen_spend())), NAMES)


@admin.register(Price)
class PriceAdmin(CatalogAdmin):
    """Prices; open periods keep the terms they opened with."""

    empty_text = "A price puts terms on a metric or a fee."
    form = PriceForm
    list_display = ["invoice_display_name", "public_id", "parent", "model", "figures", "payment_term", "cadence"]
    list_filter = [
        "organization",
        "model",
        "payment_term",
        "pricing_unit",
        ("deleted_at", admin.EmptyFieldListFilter),
    ]
    search_fields = ["invoice_display_name", "public_id", "metric__name", "fee__name"]
    list_select_related = ["metric", "fee", "pricing_unit", "organization"]
    readonly_fields = ["public_id", "revision_number"]

    @display(description="Of")
    def parent(self, price: Price) -> str:
        return link(price.metric or price.fee)

    @display(description="Price")
    def figures(self, price: Price) -> str:
        figures = describe(price.properties)
        return figures if price.pricing_unit is None else format_html("{} {}", figures, link(price.pricing_unit))

    @display(description="Cadence")
    def cadence(self, price: Price) -> str:
        return {"P0D": "once", "": "the plan's"}.get(price.billing_cadence, price.billing_cadence)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        fields, spend = own_fields(form), form.chosen_spend()
        if change:
            fields.pop("organization", None)
            update_price(price_id=obj.pk, changes=fields, spend=spend)
            return
        organization = fields.pop("organization")
        made = create_price(organization_id=organization.pk, spend=merged({}, spend), **fields)
        obj.pk, obj.public_id = made.pk, made.public_id


@admin.register(PriceRevision)
class PriceRevisionAdmin(ReadOnlyModelAdmin):
    """The terms of prices as they stood."""

    empty_text = "Each change of a price makes a revision."
    organization_path = "price__organization_id"
    list_display = ["price", "number", "model", "figures", "payment_term", "created_at"]
    list_filter = ["model", "payment_term"]
    search_fields = ["price__public_id", "invoice_display_name"]
    list_select_related = ["price"]
    date_hierarchy = "created_at"
    inlines = [SpendInline]

    @display(description="Price")
    def figures(self, revision: PriceRevision) -> str:
        return describe(revision.properties)


def values_of(match: dict[str, str]) -> str:
    """Give which usage a group of a price is of."""
    return ", ".join(f"{name} {value or '(none)'}" for name, value in match.items())


def examples() -> str:
    """Give properties of every model as one may write them."""
    rows = [(code.replace("_", " "), json.dumps(dict(model.EXAMPLE))) for code, model in REGISTRY.items()]
    rows.append(("by dimension, with any model", json.dumps(GROUPS_EXAMPLE)))
    return format_html("For example:{}", format_html_join("", "<br>{}: <code>{}</code>", rows))


def describe(properties: dict[str, Any]) -> str:
    """Give a price's figures readably, a row a tier."""
    if "groups" in properties or "groupTiers" in properties:
        own = {name: value for name, value in properties.items() if name not in NAMES_OF_GROUPS}
        groups = [(values_of(row["match"]), describe(row["properties"])) for row in properties.get("groups") or ()]
        if properties.get("groupTiers") == "own":
            named = {name for row in properties.get("groups") or () for name in row["match"]}
            groups.append((f"each of {', '.join(properties.get('groupBy') or sorted(named))}", "by itself"))
        if properties.get("sharedFreeUnits"):
            groups.append((f"{properties['sharedFreeUnits']} units of all", "free"))
        return format_html("{}{}", describe(own), format_html_join("", "<br>{}: {}", groups))
    tiers = properties.get("tiers")
    if tiers is None:
        return ", ".join(f"{name} {value}" for name, value in properties.items())
    rows = [
        (
            f"up to {tier['upTo']}" if tier.get("upTo") else "beyond",
            tier["unitPrice"] if "unitPrice" in tier else tier["percentage"],
            f" and {tier['flatFee']}" if tier.get("flatFee") else "",
        )
        for tier in tiers
    ]
    return format_html_join("", "{}: {}{}<br>", rows)
