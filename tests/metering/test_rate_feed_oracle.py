"""Usage by the rate of a feed against an oracle that looks the rate of every single event up."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from apps.catalog.models import BillableMetric, FeedRate, Product, RateFeed
from apps.customers.models import Customer
from apps.invoicing.selectors.metered import MeteredRequest, metered_usage
from apps.kernel.time import format_instant
from apps.metering.selectors.links import subjects_of
from apps.metering.selectors.registry import forget_metrics
from apps.metering.selectors.usage import UsageRequest
from apps.metering.services.interning import forget_interned
from apps.metering.services.merge import drain
from apps.metering.services.staging import accept_events
from apps.rating.grouped import parse_price, price_of, priced
from apps.rating.price_models import amount_of
from apps.rating.usage import Usage
from tests.world import make_world

BEGIN = datetime(2026, 3, 1, 22, tzinfo=UTC)
SPAN = 5 * 3600
LOW, HIGH = Decimal("0.1"), Decimal("0.9")


@dataclass(frozen=True, slots=True)
class Sent:
    """One event: seconds since the span's start, its value, and what it is of."""

    second: int
    value: Decimal
    model: str


# Whole hours are drawn often, by rates and events alike, and so is the instant itself.
seconds = st.one_of(st.integers(0, SPAN), st.sampled_from([3600 * n for n in range(6)]), st.just(1800))
sent = st.builds(
    Sent,
    second=seconds,
    value=st.decimals(min_value=-100, max_value=1000, places=3, allow_nan=False),
    model=st.sampled_from(["x", "y", ""]),
)
rates = st.dictionaries(
    st.one_of(seconds, st.integers(-7200, -1)),
    st.sampled_from([Decimal("0"), LOW, Decimal("0.25"), Decimal("0.5"), HIGH, Decimal("1.5"), Decimal("-1")]),
    max_size=6,
)


class RateFeedOracle(TestCase):
    """Random rates, on the hour and within it, over random events and intervals; two feeds for two models."""

    def prepare(self, feeds: Sequence[dict[int, Decimal]]) -> None:
        forget_metrics()
        forget_interned()
        self.world = make_world()
        merchant = self.world.merchant
        product = Product.objects.create(organization=merchant, name="p")
        self.metrics = {
            code: BillableMetric.objects.create(
                organization=merchant, product=product, name=code, unit="u", aggregation=code, event_type="t",
                value_property="$.v" if code == "SUM" else "", group_by={"model": "$.model"},
            )
            for code in ("SUM", "COUNT")
        }  # fmt: skip
        self.customer = Customer.objects.get(public_id=self.world.customer())
        self.feeds = []
        for known in feeds:
            feed = RateFeed.objects.create(organization=merchant, name="f", currency="USD")
            FeedRate.objects.bulk_create(
                FeedRate(organization=merchant, feed=feed, effective_from=at(second), value=value)
                for second, value in known.items()
            )
            self.feeds.append(feed)

    def ingest(self, rows: Sequence[Sent]) -> None:
        raw: list[Any] = [
            {
                "type": "t", "source": "s", "subject": self.customer.public_id,
                "timestamp": format_instant(at(row.second)), "idempotencyKey": f"k{n}",
                "data": {"v": row.value, **({"model": row.model} if row.model else {})},
            }
            for n, row in enumerate(rows)
        ]  # fmt: skip
        verdicts = accept_events(
            raw, organization_id=self.world.merchant.pk, organization_public_id=self.world.id,
            as_of=at(SPAN), is_import=True,
        )  # fmt: skip
        assert not verdicts.rejected
        drain()

    @settings(max_examples=40)
    @given(
        rows=st.lists(sent, max_size=25),
        first=rates,
        second=rates,
        a=st.integers(0, SPAN),
        b=st.integers(0, SPAN),
        is_whole=st.booleans(),
    )
    def test_every_event_goes_by_the_rate_of_its_time(
        self, rows: list[Sent], first: dict[int, Decimal], second: dict[int, Decimal], a: int, b: int, is_whole: bool
    ) -> None:
        self.prepare([first, second])
        self.ingest(rows)
        start, end = (0, SPAN + 1) if is_whole else (min(a, b), max(a, b) + 1)
        bounds = {"minPrice": str(LOW), "maxPrice": str(HIGH)}
        one, other = ({**bounds, "rateSource": "feed", "feedId": feed.public_id} for feed in self.feeds)
        plain = parse_price("dynamic", one)
        by_model = parse_price("dynamic", {**one, "groups": [{"match": {"model": "x"}, "properties": other}]})
        own = parse_price("dynamic", {**one, "groupTiers": "own", "groupBy": ["model"]})
        subjects = subjects_of(customer_ids=[self.customer.pk]).get(self.customer.pk, [])
        for code, metric in self.metrics.items():
            asked = UsageRequest(self.world.merchant.pk, metric.pk, subjects, at(start), at(end))
            inside = [row for row in rows if start <= row.second < end]
            total = sum((row.value if code == "SUM" else Decimal(1) for row in inside), Decimal(0))
            prices = [plain, by_model, own]
            answers = metered_usage([MeteredRequest(asked, price, metric) for price in prices])
            for price, usage in zip(prices, answers, strict=True):
                wanted = Decimal(0)
                for row in inside:
                    feed = second if price is by_model and row.model == "x" else first
                    wanted += (row.value if code == "SUM" else Decimal(1)) * held(newest(feed, row.second))
                assert usage.quantity == total
                # By what a line keeps alone, without the feed.
                again = price_of(json.loads(json.dumps(price.describe())))
                kept = Usage(usage.quantity, json.loads(json.dumps(usage.counted)))
                assert amount_of(priced(again, kept)) == wanted


def at(second: int) -> datetime:
    return BEGIN + timedelta(seconds=second)


def newest(feed: dict[int, Decimal], second: int) -> Decimal | None:
    """Give the newest rate at or before a moment."""
    known = [moment for moment in feed if moment <= second]
    return feed[max(known)] if known else None


def held(rate: Decimal | None) -> Decimal:
    return LOW if rate is None else min(max(rate, LOW), HIGH)
