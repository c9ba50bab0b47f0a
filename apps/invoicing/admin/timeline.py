"""The prices and quantities of a subscription over time, as its page shows them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from unfold.admin import TabularInline
from unfold.decorators import display

from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, moment
from apps.kernel.money import format_decimal, format_unit_price
from apps.subscriptions.domain.lines import Shown
from apps.subscriptions.models import (
    Subscription,
    SubscriptionInterval,
    SubscriptionIntervalChange,
    SubscriptionQuantity,
)
from apps.subscriptions.selectors.timeline import lines_of, shown_of, timeline_of


class _ReadOnlyInline(TabularInline):
    """Rows that use-cases write."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


class IntervalInline(_ReadOnlyInline):
    """Where a price differs from the plan."""

    model = SubscriptionInterval
    fields = readonly_fields = ["price_key", "kind", "unit_price", "span"]
    ordering = ["price_key", "span"]
    verbose_name_plural = "Differences from the plan"


class QuantityInline(_ReadOnlyInline):
    """Quantities that were chosen or changed."""

    model = SubscriptionQuantity
    fields = readonly_fields = ["price_key", "effective_at", "quantity", "change"]
    ordering = ["price_key", "effective_at"]
    verbose_name_plural = "Quantities"


def intervals_table(row: Subscription) -> str:
    """Give every price of a subscription over time: from, to, unit price, quantity."""
    timeline = timeline_of(row)
    cells = (
        (
            shown.line.key,
            moment(shown.start),
            "without end" if shown.end is None else moment(shown.end),
            "as the catalogue says"
            if shown.unit_price is None
            else format_unit_price(shown.unit_price, row.currency),
            "usage" if shown.line.is_usage else _quantities(shown),
        )
        for shown in shown_of(row, timeline, lines_of(row, timeline))
    )
    rows = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", cells)
    return format_html(
        '<table class="mg-table"><tr><th>Price</th><th>From</th><th>To</th><th>Unit price</th>'
        "<th>Quantity</th></tr>{}</table>",
        rows,
    )


def _quantities(shown: Shown) -> str:
    steps = (f"{format_decimal(step.quantity)} from {moment(step.at)}" for step in shown.transitions)
    return ", ".join([format_decimal(shown.quantity), *steps])


@admin.register(SubscriptionIntervalChange)
class SubscriptionIntervalChangeAdmin(ReadOnlyModelAdmin):
    """Who changed prices or quantities of subscriptions, when and why."""

    empty_text = "Changes of prices and quantities are made on the page of a subscription, or over the API."
    list_display = ["shown", "subscription_page", "change_reason", "made", "made_by", "description"]
    list_filter = ["organization", "change_reason"]
    search_fields = ["public_id", "description", "subscription__public_id", "subscription__name"]
    list_select_related = ["subscription", "organization"]
    date_hierarchy = "made_at"
    readonly_fields = ["subscription_page"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*self.readonly_fields, *(field.name for field in self.opts.fields)]

    @display(description="Change", header=True, ordering="id")
    def shown(self, row: SubscriptionIntervalChange) -> list[str]:
        return [f"{len(row.intervals)} intervals", row.public_id]

    @display(description="Subscription")
    def subscription_page(self, row: SubscriptionIntervalChange) -> str:
        return link(row.subscription)

    @display(description="Made at", ordering="made_at")
    def made(self, row: SubscriptionIntervalChange) -> str:
        return moment(row.made_at)
