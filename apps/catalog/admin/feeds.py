from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget

from apps.catalog.admin.base import CatalogAdmin
from apps.catalog.models import FeedRate, RateFeed
from apps.catalog.selectors.feeds import billed_until, prices_by_feed, rates_of
from apps.catalog.services.feeds import create_feed, set_rates, update_feed
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, listing, moment, unit_price
from apps.kernel.adminsite.forms import check_by_rules
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.money import format_decimal, is_currency
from apps.kernel.time import parse_instant

DRAWN, LISTED = 500, 20
MOST_LINES = 10_000
WIDTH, HEIGHT, EDGE = 720, 160, 12


class RatesForm(BaseDialogForm):
    """Rates as lines of a spreadsheet."""

    lines = forms.CharField(
        label="Rates", max_length=1_000_000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 10}),
        help_text="A line each, such as 2026-01-01T08:00:00Z,0.25; without a value the rate is taken away.",
    )  # fmt: skip

    def clean_lines(self) -> dict[datetime, Decimal | None]:
        rates: dict[datetime, Decimal | None] = {}
        rows = [line.strip() for line in self.cleaned_data["lines"].splitlines() if line.strip()]
        if len(rows) > MOST_LINES:
            raise forms.ValidationError(f"Send at most {MOST_LINES:,} lines at once.")
        for number, line in enumerate(rows, start=1):
            at, _, value = line.replace(";", ",").replace("\t", ",").partition(",")
            try:
                rates[parse_instant(at)] = _value(value.strip())
            except (ValueError, OverflowError, InvalidOperation):
                raise forms.ValidationError(f"Line {number} is no instant and value: {line[:80]}") from None
        return rates


def _value(text: str) -> Decimal | None:
    if not text:
        return None
    value = Decimal(text)
    exponent = value.normalize().as_tuple().exponent
    if not value.is_finite() or abs(value) >= Decimal("1e15") or not isinstance(exponent, int) or exponent < -15:
        raise ValueError(text)
    return value


def _set(call: Call) -> str:
    done = set_rates(feed_id=call.row.pk, rates=call.data["lines"], as_of=call.now)
    return f"{done.changed} rates are set, {done.removed} taken away, {done.unchanged} were so already."


class FeedForm(forms.ModelForm):
    class Meta:
        model = RateFeed
        fields = ["organization", "name", "currency", "unit", "description"]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        check_by_rules(self, lambda: _check_currency(data.get("currency", "USD")), {"currency": "currency"})
        return data


def _check_currency(currency: str) -> None:
    if not is_currency(currency):
        message = "Give an ISO 4217 code, such as USD."
        raise InvalidError(message, errors=[FieldError("currency", message, "invalid")])


@admin.register(RateFeed)
class RateFeedAdmin(CatalogAdmin):
    """Prices of a unit that change by the clock."""

    form = FeedForm
    empty_text = "Feeds of rates by time of day, or of a spot market, appear here once they are made."
    list_display = ["name", "currency", "unit", "rates", "public_id"]
    list_filter = ["organization"]
    readonly_fields = ["public_id", "rates", "billed", "prices", "chart"]
    actions_detail = ["set_rates"]

    set_rates = service_action(
        title="Set rates",
        permissions=["edit_catalog"],
        description="All lines are set, or none; rates that usage was billed by stay.",
        run=_set,
        form=RatesForm,
        icon="show_chart",
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = ["organization", "name", "currency", "unit", "description"]
        if obj is None:
            return [(None, {"fields": fields})]
        return [
            (None, {"fields": [*fields, "public_id", "prices", "billed"]}),
            ("Rates", {"fields": ["rates", "chart"]}),
        ]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        """Run the use-cases; the form checked what they would refuse for the currency."""
        fields = dict(form.cleaned_data)
        organization = fields.pop("organization")
        if change:
            update_feed(feed_id=obj.pk, changes=fields)
            return
        made = create_feed(organization_id=organization.pk, **fields)
        obj.pk, obj.public_id = made.pk, made.public_id

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fixed = ["organization", "currency"] if obj is not None else []
        return [*self.readonly_fields, *fixed]

    @display(description="Rates")
    def rates(self, feed: RateFeed) -> SafeString:
        return listing(FeedRate, "all rates", feed__id__exact=feed.pk)

    @display(description="Billed until")
    def billed(self, feed: RateFeed) -> str:
        return moment(billed_until(feed))

    @display(description="Prices")
    def prices(self, feed: RateFeed) -> SafeString | str:
        return format_html_join(", ", "{}", ((link(price),) for price in prices_by_feed(feed)[:LISTED])) or "—"

    @display(description="The newest")
    def chart(self, feed: RateFeed) -> SafeString | str:
        rows = list(rates_of(feed).reverse()[:DRAWN])[::-1]
        if not rows:
            return "No rates yet."
        newest = format_html_join(
            "", "<tr><td>{}</td><td class='num'>{}</td></tr>",
            ((moment(row.effective_from), unit_price(row.value, feed.currency)) for row in reversed(rows[-LISTED:])),
        )  # fmt: skip
        return format_html("{}<table class='mg-table'>{}</table>", _drawn(rows), newest)


def _drawn(rows: Sequence[FeedRate]) -> SafeString:
    """Draw rates as steps over their time."""
    first, last = rows[0].effective_from, rows[-1].effective_from
    span = (last - first).total_seconds() or 1
    low, high = min(row.value for row in rows), max(row.value for row in rows)
    height = (high - low) or Decimal(1)
    points = []
    previous: Decimal | None = None
    for row in rows:
        x = EDGE + (WIDTH - 2 * EDGE) * (row.effective_from - first).total_seconds() / span
        y = HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (row.value - low) / height
        points += ([f"{x:.1f},{previous:.1f}"] if previous is not None else []) + [f"{x:.1f},{y:.1f}"]
        previous = y
    return format_html(
        '<svg class="mg-chart mg-series" viewBox="0 0 {} {}" role="img" aria-label="Rates from {} to {}">'
        '<polyline class="c0" points="{}"/><text x="{}" y="11">{} to {}</text></svg>',
        WIDTH, HEIGHT, moment(first), moment(last), " ".join(points), EDGE, format_decimal(low), format_decimal(high),
    )  # fmt: skip


@admin.register(FeedRate)
class FeedRateAdmin(ReadOnlyModelAdmin):
    """What a unit costs from when on."""

    empty_text = "Rates are set on the page of a feed, or over the API."
    is_huge = True
    list_display = ["feed", "effective_from", "shown"]
    list_filter = ["organization", "feed"]
    list_select_related = ["feed"]
    ordering = ["-effective_from"]

    @display(description="Rate", ordering="value")
    def shown(self, row: FeedRate) -> SafeString:
        return unit_price(row.value, row.feed.currency)
