"""Prices by the clock: night and day, spot, corrections of usage, and rates that stay once they are billed."""

import threading
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from apps.catalog.models import FeedRate, RateFeed
from apps.catalog.services.feeds import set_rates
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.services.holding import hold_rates
from apps.kernel.errors import ConflictError
from apps.metering.services.merge import drain
from apps.rating.reading import recompute
from tests.concurrency import at_once
from tests.world import World, at

JANUARY = "2026-01-01T00:00:00Z"


class Shop:
    """GPU hours by a spot feed, held between 0.10 and 1.00, for one customer on a clock."""

    def __init__(self, world: World, *, groups: list[dict[str, Any]] | None = None) -> None:
        self.world, self.product = world, world.product()
        self.feed = world.api.post("/v0/rateFeeds", {"name": "Spot", "currency": "USD", "unit": "GPU-hours"})["id"]
        self.metric = world.metric(self.product, groupBy={"gpu": "$.gpu"})
        self.price = world.usage_price(self.metric, model="dynamic", properties=self.properties(groups=groups))
        self.customer, self.clock = world.customer(), world.clock(JANUARY)
        plan = world.plan(self.product, [self.price])
        self.subscription = world.subscribe(self.customer, plan, at=JANUARY, clock=self.clock)["id"]

    def properties(self, **extra: Any) -> dict[str, Any]:
        own = {"minPrice": "0.10", "maxPrice": "1.00", "rateSource": "feed", "feedId": self.feed, **extra}
        return {name: value for name, value in own.items() if value is not None}

    def rates(self, *rates: tuple[str, str | None], expect: int = 200) -> dict[str, Any]:
        body = {"rates": [{"effectiveFrom": moment, "value": value} for moment, value in rates]}
        found: dict[str, Any] = self.world.api.post(f"/v0/rateFeeds/{self.feed}/rates", body, expect=expect)
        return found

    def use(self, moment: str, units: float, **data: Any) -> None:
        self.world.send(self.customer, moment, tokens=units, **data)

    def line(self, number: int = 0) -> dict[str, Any]:
        (line,) = self.world.lines(self.world.invoices(self.subscription)[number]["id"])
        assert recompute(line["provenance"]) == Decimal(line["totalPrice"])
        return dict(line)


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


@pytest.mark.django_db
def test_night_and_day_cost_what_they_cost(shop: Shop) -> None:
    # The night is held at 0.10; from 8 o'clock 0.50; from 12:30 0.80; the evening is held at 1.00.
    shop.rates(
        ("2026-01-05T00:00:00Z", "0.02"), ("2026-01-05T08:00:00Z", "0.50"), ("2026-01-05T12:30:00Z", "0.80"),
        ("2026-01-05T18:00:00Z", "3"),
    )  # fmt: skip
    shop.use("2026-01-04T23:59:59Z", 10)  # before the feed: the lower bound
    shop.use("2026-01-05T07:59:59Z", 10)
    shop.use("2026-01-05T08:00:00Z", 20)
    shop.use("2026-01-05T12:29:59Z", 20)
    shop.use("2026-01-05T12:30:00Z", 5)
    shop.use("2026-01-09T12:30:00Z", 2)
    shop.world.advance(shop.clock, "2026-01-20T00:00:00Z")
    # 20 × 0.10 + 40 × 0.50 + 5 × 0.80 + 2 × 1.00, live and issued.
    assert shop.world.invoices(shop.subscription)[0]["grandTotal"] == "28.00"
    shop.world.advance(shop.clock, "2026-02-02T00:00:00Z")
    line = shop.line()
    assert (line["totalPrice"], line["quantity"]) == ("28.00", 67)
    counted = line["provenance"]["steps"][0]["params"]["counted"]
    assert counted["rates"] == [
        {"rate": "0.1", "quantity": "20"}, {"rate": "0.5", "quantity": "40"}, {"rate": "0.8", "quantity": "5"},
        {"rate": "1", "quantity": "2"},
    ]  # fmt: skip
    assert (counted["withoutPrice"], counted["belowMinimum"], counted["aboveMaximum"]) == (1, 1, 1)


@pytest.mark.django_db
def test_rates_may_change_until_they_are_billed(shop: Shop) -> None:
    shop.rates((JANUARY, "0.2"))
    shop.use("2026-01-05T10:00:00Z", 100)
    shop.world.advance(shop.clock, "2026-01-20T00:00:00Z")
    assert shop.world.invoices(shop.subscription)[0]["grandTotal"] == "20.00"
    shop.rates((JANUARY, "0.3"))
    assert shop.world.invoices(shop.subscription)[0]["grandTotal"] == "30.00"
    shop.world.advance(shop.clock, "2026-02-02T00:00:00Z")
    feed = shop.world.api.get(f"/v0/rateFeeds/{shop.feed}")
    assert feed["billedUntil"] == "2026-02-01T00:00:00Z"

    refused = shop.rates((JANUARY, "0.4"), ("2026-02-01T00:00:00Z", "0.9"), expect=409)
    assert (refused["code"], refused["details"]["effectiveFrom"]) == ("RATE_BILLED", [JANUARY])
    assert shop.rates(("2026-01-31T23:59:59Z", "0.4"), expect=409)["code"] == "RATE_BILLED"
    assert shop.rates((JANUARY, None), expect=409)["code"] == "RATE_BILLED"
    # Nothing of a refused call is set, what changes no amount is, and so is what lies ahead.
    assert FeedRate.objects.count() == 1
    assert shop.rates((JANUARY, "0.30")) == {"changed": 0, "removed": 0, "unchanged": 1}
    assert shop.rates(("2026-01-15T00:00:00Z", "0.3"))["changed"] == 1
    assert shop.rates(("2026-02-01T00:00:00Z", "0.9"))["changed"] == 1
    assert shop.rates(("2026-02-01T00:00:00Z", None))["removed"] == 1
    shop.world.advance(shop.clock, "2026-03-02T00:00:00Z")
    assert shop.world.invoices(shop.subscription)[0]["grandTotal"] == "30.00"


@pytest.mark.django_db
def test_late_usage_goes_by_the_rate_of_its_time(shop: Shop) -> None:
    shop.rates((JANUARY, "0.2"), ("2026-01-10T06:15:00Z", "0.4"))
    shop.use("2026-01-10T06:14:59Z", 10)
    shop.world.advance(shop.clock, "2026-02-02T00:00:00Z")
    assert shop.line()["totalPrice"] == "2.00"
    shop.use("2026-01-10T06:15:00Z", 10)
    shop.rates(("2026-02-05T00:00:00Z", "1"))
    shop.use("2026-02-06T00:00:00Z", 3)
    shop.world.advance(shop.clock, "2026-03-02T00:00:00Z")
    lines = {
        line["invoiceDisplayName"]: line for line in shop.world.lines(shop.world.invoices(shop.subscription)[1]["id"])
    }
    assert lines["Tokens (late usage)"]["totalPrice"] == "4.00"
    assert lines["Tokens"]["totalPrice"] == "3.00"
    for line in lines.values():
        assert recompute(line["provenance"]) == Decimal(line["totalPrice"])


@pytest.mark.django_db
def test_each_kind_of_machine_may_have_a_feed_of_its_own(world: World) -> None:
    large = world.api.post("/v0/rateFeeds", {"name": "Large", "currency": "USD"})["id"]
    groups = [
        {
            "match": {"gpu": "large"},
            "properties": {"minPrice": "0.5", "maxPrice": "9", "rateSource": "feed", "feedId": large},
        }
    ]
    shop = Shop(world, groups=groups)
    shop.rates((JANUARY, "0.2"))
    world.api.post(f"/v0/rateFeeds/{large}/rates", {"rates": [{"effectiveFrom": JANUARY, "value": "4"}]}, expect=200)
    shop.use("2026-01-05T10:00:00Z", 10, gpu="large")
    shop.use("2026-01-05T11:00:00Z", 10, gpu="small")
    shop.world.advance(shop.clock, "2026-02-02T00:00:00Z")
    assert shop.line()["totalPrice"] == "42.00"
    body = {
        "draft": {"currency": "USD", "prices": [shop.price]}, "customerIds": [shop.customer], "compareWith": "billed",
        "from": JANUARY, "to": "2026-02-01T00:00:00Z",
    }  # fmt: skip
    found = world.api.post("/v0/simulations", body, expect=200)
    assert (found["totals"]["simulated"], found["totals"]["difference"]) == ("42.00", "0.00")


@pytest.mark.django_db
def test_what_a_price_says_of_its_rate_is_checked(shop: Shop) -> None:
    def errors(**properties: Any) -> list[str]:
        body = {
            "invoiceDisplayName": "x", "paymentTerm": "in_arrears", "model": "dynamic",
            "billableMetricId": shop.metric, "properties": {"minPrice": "0", "maxPrice": "1", **properties},
        }  # fmt: skip
        answer = shop.world.api.call("post", "/v0/prices", body).json()
        return [error["field"] for error in answer.get("errors", [])]

    assert errors(rateSource="usage") == errors(rateSource="property", priceProperty="$.p") == errors() == []
    assert errors(rateSource="moon") == ["properties.rateSource"]
    assert errors(rateSource="property") == ["properties.priceProperty"]
    assert errors(rateSource="usage", priceProperty="$.p") == ["properties.priceProperty"]
    assert errors(rateSource="usage", feedId=shop.feed) == ["properties.feedId"]
    assert errors(rateSource="feed") == errors(rateSource="feed", feedId=7) == ["properties.feedId"]
    assert errors(feedId="feed_nobody") == ["properties.feedId"]
    assert errors(feedId=shop.feed) == []
    plan = {"name": "x", "currency": "EUR", "merchantId": shop.world.id, "productId": shop.product}
    euros = shop.world.api.post("/v0/plans", {**plan, "prices": [shop.price]}, expect=400)
    assert euros["errors"][0]["field"] == "prices.0"
    other = shop.world.api.post("/v0/rateFeeds", {"name": "Euros", "currency": "EUR"})["id"]
    refused = shop.world.api.call(
        "patch", f"/v0/prices/{shop.price}", {"properties": {"minPrice": "0", "maxPrice": "1", "feedId": other}}
    ).json()
    assert refused["errors"][0]["code"] == "other_currency"


@pytest.mark.django_db
def test_feeds_over_the_api(shop: Shop) -> None:
    api = shop.world.api
    assert api.post("/v0/rateFeeds", {"name": "x", "currency": "XXY"}, expect=400)["errors"][0]["field"] == "currency"
    spare = api.post("/v0/rateFeeds", {"name": "Spare", "currency": "EUR"})["id"]
    assert [feed["name"] for feed in api.get("/v0/rateFeeds")["data"]] == ["Spare", "Spot"]
    assert api.patch(f"/v0/rateFeeds/{spare}", {"currency": "USD", "unit": "kWh"})["unit"] == "kWh"
    api.delete(f"/v0/rateFeeds/{spare}")
    api.get(f"/v0/rateFeeds/{spare}", expect=404)
    assert api.delete(f"/v0/rateFeeds/{shop.feed}", expect=409)["code"] == "FEED_IN_USE"
    changed = api.call("patch", f"/v0/rateFeeds/{shop.feed}", {"currency": "EUR"})
    assert changed.json()["code"] == "FEED_IN_USE"

    hours = [(f"2026-01-01T{hour:02}:00:00Z", f"0.{hour:02}1") for hour in range(24)]
    assert shop.rates(*hours) == {"changed": 24, "removed": 0, "unchanged": 0}
    assert shop.rates(*hours, (hours[0][0], hours[0][1])) == {"changed": 0, "removed": 0, "unchanged": 24}
    again = shop.rates(("2026-01-01T00:00:00Z", "0.5"), ("2026-01-01T02:00:00+02:00", "0.6"), expect=400)
    assert again["errors"][0]["field"] == "rates.1.effectiveFrom"
    assert shop.rates((JANUARY, "much"), expect=400)["errors"][0]["field"].startswith("rates.0.value")
    page = api.get(f"/v0/rateFeeds/{shop.feed}/rates?from=2026-01-01T03:00:00Z&to=2026-01-01T05:00:00Z")
    assert page["data"] == [
        {"effectiveFrom": "2026-01-01T03:00:00Z", "value": "0.031"},
        {"effectiveFrom": "2026-01-01T04:00:00Z", "value": "0.041"},
    ]


@pytest.mark.django_db
def test_feeds_in_the_admin(shop: Shop) -> None:
    client = Client()
    client.force_login(shop.world.owner)
    feed = RateFeed.objects.get()
    path = f"/admin/catalog/ratefeed/{feed.pk}/"

    def paste(lines: str) -> str:
        return client.post(
            f"{path}set-rates/", {"lines": lines, "_form_submitted": "1"}, follow=True
        ).content.decode()

    assert "2 rates are set" in paste("2026-01-01T00:00:00Z,0.25\n\n2026-01-02T00:00:00Z; 0.5\n")
    assert "1 taken away, 1 were so already" in paste("2026-01-01T00:00:00Z,0.25\n2026-01-02T00:00:00Z,\n")
    assert "Line 1 is no instant and value" in paste("tomorrow,1")
    page = client.get(f"{path}change/").content.decode()
    assert "0.25" in page
    assert "polyline" in page
    assert client.get("/admin/catalog/feedrate/").status_code == 200
    form = {"organization": shop.world.merchant.pk, "name": "Power", "currency": "XXY", "unit": "", "description": ""}
    assert "ISO 4217" in client.post("/admin/catalog/ratefeed/add/", form).content.decode()
    assert client.post("/admin/catalog/ratefeed/add/", {**form, "currency": "EUR"}).status_code == 302
    assert RateFeed.objects.get(name="Power").currency == "EUR"


@pytest.mark.django_db(transaction=True)
def test_a_rate_waits_for_the_bill_that_is_being_made_and_then_stays(world: World) -> None:
    shop = Shop(world)
    shop.rates((JANUARY, "0.2"))
    shop.use("2026-01-05T10:00:00Z", 100)
    drain()
    shop.world.advance(shop.clock, "2026-01-31T00:00:00Z")
    feed = RateFeed.objects.get()
    held, may_end = threading.Event(), threading.Event()

    def bill() -> None:
        """What a calculation does around its reading."""
        with transaction.atomic():
            hold_rates(list(Invoice.objects.filter(status="ACTIVE")))
            held.set()
            assert may_end.wait(timeout=30)
            InvoiceLine.objects.create(
                organization_id=feed.organization_id, invoice=Invoice.objects.get(), kind="metered", reference="x",
                price_revision_id=Invoice.objects.get().price_revision_ids[0], display_name="x", currency="USD",
                period_start=at(JANUARY), period_end=at("2026-02-01T00:00:00Z"), quantity=1, unit_price=1, gross=1,
                subtotal=1, total=1, public_id="li_x",
            )  # fmt: skip
            Invoice.objects.update(calculated_at=at("2026-02-01T01:00:00Z"))

    def change() -> str:
        assert held.wait(timeout=30)
        threading.Timer(0.5, may_end.set).start()
        try:
            set_rates(feed_id=feed.pk, rates={at(JANUARY): Decimal("0.3")}, as_of=at(JANUARY))
        except ConflictError as error:
            return error.code
        return "set"

    assert at_once([bill, change]) == [None, "RATE_BILLED"]
    assert FeedRate.objects.get().value == Decimal("0.2")


@pytest.mark.django_db(transaction=True)
def test_the_same_rates_sent_at_once_are_set_once(world: World) -> None:
    shop = Shop(world)
    feed = RateFeed.objects.get()
    rates = {at(f"2026-01-01T{hour:02}:00:00Z"): Decimal(hour) for hour in range(24)}

    def send() -> tuple[int, int]:
        done = set_rates(feed_id=feed.pk, rates=dict(reversed(rates.items())), as_of=at(JANUARY))
        return done.changed, done.unchanged

    assert sorted(at_once([send] * 4)) == [(0, 24)] * 3 + [(24, 0)]
    assert FeedRate.objects.count() == 24
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM outbox_outboxevent WHERE event_type LIKE 'rate_feed%%'")
        assert cursor.fetchone() == (1,)
    assert shop.feed == feed.public_id
