from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from apps.catalog.admin.base import CatalogAdmin
from apps.catalog.domain.metrics import check_flat, check_metric
from apps.catalog.models import Aggregation, BillableMetric, Feature, Fee, MetricMode, Product
from apps.catalog.services.products import OF_EVENTS, require_dimensions
from apps.kernel.adminsite.forms import check_by_rules


@admin.register(Product)
class ProductAdmin(CatalogAdmin):
    """What is sold."""

    empty_text = "A product holds what is counted, charged and sold together."
    list_display = ["name", "public_id", "organization", "description", "created_at"]
    list_select_related = ["organization"]


class MetricForm(forms.ModelForm):
    class Meta:
        model = BillableMetric
        exclude = ["deleted_at", "public_id"]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("mode", self.instance.mode) == MetricMode.USAGE and not data.get("event_type"):
            self.add_error("event_type", "Say which events it counts.")
        # On a stored metric the aggregation is shown and not asked for.
        aggregation = data.get("aggregation", self.instance.aggregation)
        if data.get("mode", self.instance.mode) == MetricMode.FLAT:
            if self.instance.pk is None:
                data["aggregation"] = Aggregation.SUM
            given = {wire: data.get(name) for wire, name in OF_EVENTS.items()}
            check_by_rules(self, lambda: check_flat(given), OF_EVENTS)
        elif aggregation and "group_by" in data:

            def check() -> None:
                data["value_property"] = check_metric(
                    aggregation=aggregation,
                    value_property=data.get("value_property", ""),
                    group_by=data["group_by"],
                )
                if self.instance.pk is not None:
                    self.instance.group_by = data["group_by"]
                    require_dimensions(metric=self.instance)

            if data.get("rounding_precision") and not data.get("rounding_function"):
                self.add_error("rounding_function", "Say how to round, or leave the places at 0.")
            check_by_rules(self, check, {"valueProperty": "value_property", "groupBy": "group_by"})
        return data


@admin.register(BillableMetric)
class MetricAdmin(CatalogAdmin):
    """What is counted."""

    empty_text = "A metric says what events count: their type, an aggregation, a value in their data."
    form = MetricForm
    list_display = ["name", "public_id", "product", "mode", "aggregation", "event_type", "unit"]
    list_filter = ["organization", "mode", "aggregation", "event_type"]
    search_fields = ["name", "public_id", "event_type"]
    list_select_related = ["product"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Windows keep what their aggregation needs and nothing else, so another one would find nothing to read.
        # And what is billed would be worth something else with another rounding.
        fixed = ["mode", "aggregation", "rounding_function", "rounding_precision"]
        return [*self.readonly_fields, *(fixed if obj is not None else [])]


@admin.register(Fee)
class FeeAdmin(CatalogAdmin):
    """Fixed charges."""

    empty_text = "A fee is charged without being counted; its amount stands on a price."
    list_display = ["name", "public_id", "product", "description", "created_at"]
    list_select_related = ["product"]


@admin.register(Feature)
class FeatureAdmin(CatalogAdmin):
    """Named capabilities."""

    empty_text = "A feature is a capability that a price may come with."
    list_display = ["name", "key", "type", "product", "public_id"]
    list_filter = ["organization", "type"]
    search_fields = ["name", "key", "public_id"]
    list_select_related = ["product"]
