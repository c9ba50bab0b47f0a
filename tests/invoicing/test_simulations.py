"""Terms priced over real usage or over none that was: the same figures as a bill, and not a trace in the database."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.metering.services.merge import drain
from apps.rating.reading import recompute
from tests.untouched import fingerprint
from tests.world import World, make_world

pytestmark = pytest.mark.django_db

JANUARY, FEBRUARY = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
SPAN = {"from": JANUARY, "to": FEBRUARY}
TIERS = [{"upTo": "100", "unitPrice": "1"}, {"upTo": None, "unitPrice": "0.5"}]


class Shop:
    """Three customers on a plan of 31.00, usage at 1.00 and a set-up fee of 99.00, with 10 % tax; January 2026."""

    def __init__(self, world: World) -> None:
        self.world, self.product = world, world.product()
        self.metric = world.metric(self.product, groupBy={"model": "$.model"})
        self.fee = world.fee_price(self.product, "31.00")
        self.usage = world.usage_price(self.metric, unit_price="1")
        setup = world.fee_price(self.product, "99.00", billingCadence="P0D")
        self.plan = world.plan(self.product, [self.fee, self.usage, setup], defaultTaxRate="10")
        self.clock = world.clock(JANUARY)
        self.customers = [self.start(*events) for events in ([(50, "a")], [(100, "a"), (200, "b")], [])]
        drain()

    def start(self, *events: tuple[int, str], at: str = JANUARY) -> str:
        customer = self.world.customer()
        subscription = self.world.subscribe(customer, self.plan, at=at, clock=self.clock)
        self.world.pay(subscription["payment"]["invoiceId"])
        for number, (tokens, model) in enumerate(events, start=3):
            self.world.send(customer, f"2026-01-{number:02}T10:20:00Z", tokens=tokens, model=model)
        return customer

    def bill(self) -> None:
        self.world.advance(self.clock, "2026-02-02T00:00:00Z")

    def simulate(self, body: dict[str, Any], expect: int = 200) -> dict[str, Any]:
        """Simulate, and hold the whole database to it that nothing is stored."""
        before = fingerprint()
        found: dict[str, Any] = self.world.api.post("/v0/simulations", body, expect=expect)
        assert fingerprint() == before
        return found

    def draft(self, *prices: Any, **extra: Any) -> dict[str, Any]:
        return {"draft": {"planId": self.plan, "prices": list(prices)}, **SPAN, **extra}

    def metered(self, model: str, **properties: Any) -> dict[str, Any]:
        return {"billableMetricId": self.metric, "model": model, "properties": properties}


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


def test_the_present_terms_give_what_was_billed(shop: Shop) -> None:
    shop.bill()
    found = shop.simulate({"planId": shop.plan, "subscribersOf": shop.plan, **SPAN, "compareWith": "billed"})
    by_customer = {bill["customerId"]: bill for bill in found["bills"]}
    # 31 + 50, 31 + 300 and 31, each with 10 % tax; the set-up fee is on neither side.
    wanted = [("81.00", "8.10", "89.10"), ("331.00", "33.10", "364.10"), ("31.00", "3.10", "34.10")]
    for customer, (subtotal, tax, total) in zip(shop.customers, wanted, strict=True):
        bill = by_customer[customer]
        sums = {"subtotal": subtotal, "tax": tax, "total": total}
        assert bill["compared"] == sums
        assert {name: bill[name] for name in sums} == sums
        assert bill["difference"] == "0.00"
    assert found["counts"] == {"more": 0, "less": 0, "same": 3, "notCompared": 0}
    assert found["totals"] == {"simulated": "443.00", "compared": "443.00", "difference": "0.00"}
    with_setup = shop.simulate(
        {"planId": shop.plan, "customerIds": shop.customers[:1], **SPAN, "compareWith": "billed", "oneTimeFees": True}
    )
    (bill,) = with_setup["bills"]
    assert (bill["subtotal"], bill["compared"]["subtotal"]) == ("180.00", "180.00")


def test_a_draft_says_who_pays_more_and_who_less(shop: Shop) -> None:
    body = shop.draft(shop.fee, shop.metered("graduated", tiers=TIERS), {"properties": {"unitPrice": "40"}})
    found = shop.simulate({**body, "customerIds": shop.customers, "expand": ["lines"]})
    # 40 more for everybody; the second one's 300 units cost 100 + 200 × 0.5 and no longer 300.
    assert [(bill["customerId"], bill["difference"]) for bill in found["bills"]] == [
        (shop.customers[0], "40.00"), (shop.customers[2], "40.00"), (shop.customers[1], "-60.00"),
    ]  # fmt: skip
    assert found["counts"] == {"more": 2, "less": 1, "same": 0, "notCompared": 0}
    assert found["totals"]["difference"] == "20.00"
    second = found["bills"][2]
    assert [(line["displayName"], line["subtotal"]) for line in second["lines"]] == [
        ("Platform fee", "31.00"), ("Draft", "200.00"), ("Draft", "40.00"),
    ]  # fmt: skip
    assert [line["subtotal"] for line in second["comparedLines"]] == ["31.00", "300.00"]
    assert (found["compareWith"], found["currency"]) == ("present", "USD")


def test_prices_by_dimension_and_of_single_events(shop: Shop) -> None:
    groups = [{"match": {"model": "b"}, "properties": {"unitPrice": "2"}}]
    by_model = shop.simulate(
        {**shop.draft(shop.metered("standard", unitPrice="1", groups=groups)), "customerIds": shop.customers}
    )
    totals = {bill["customerId"]: bill["subtotal"] for bill in by_model["bills"]}
    assert [totals[customer] for customer in shop.customers] == ["50.00", "500.00", "0.00"]
    percentage = shop.metered("percentage", percentage="0.1", fixedCharge="1")
    single = shop.simulate({**shop.draft(percentage), "customerIds": shop.customers, "expand": ["provenance"]})
    totals = {bill["customerId"]: bill["subtotal"] for bill in single["bills"]}
    # 5 + 1; 10 + 1 + 20 + 1.
    assert [totals[customer] for customer in shop.customers] == ["6.00", "32.00", "0.00"]
    for bill in single["bills"]:
        for line in bill["lines"]:
            assert recompute(line["provenance"]) == Decimal(line["subtotal"])


def test_an_older_version_is_still_what_it_was(shop: Shop) -> None:
    dearer = shop.world.usage_price(shop.metric, unit_price="3")
    shop.world.api.post(f"/v0/plans/{shop.plan}/versions", {"prices": [shop.fee, dearer]})
    body = {"planId": shop.plan, "customerIds": shop.customers[:1], **SPAN}
    # Floating subscriptions move at their boundary; until then version 1 is what they have.
    assert shop.simulate(body)["bills"][0]["difference"] == "100.00"
    assert shop.simulate({**body, "versionNumber": 1})["bills"][0]["difference"] == "0.00"
    assert shop.simulate({**body, "versionNumber": 7}, expect=404)["message"] == "The plan has no version 7."


def test_a_part_of_a_period_is_prorated_and_whole_ones_are_not(shop: Shop) -> None:
    body = {"planId": shop.plan, "customerIds": shop.customers[2:]}
    assert shop.simulate({**body, "from": JANUARY, "to": "2026-01-11T00:00:00Z"})["bills"][0]["subtotal"] == "10.00"
    assert shop.simulate({**body, "from": JANUARY, "to": "2026-04-01T00:00:00Z"})["bills"][0]["subtotal"] == "93.00"
    # A month in a zone with summer time is one, too.
    march = {"from": "2026-03-01T05:00:00Z", "to": "2026-04-01T04:00:00Z", "timeZone": "America/New_York"}
    assert shop.simulate({**body, **march})["bills"][0]["subtotal"] == "31.00"


def test_a_customer_is_billed_for_the_time_in_which_it_had_the_product(shop: Shop) -> None:
    shop.world.advance(shop.clock, "2026-01-11T00:00:00Z")
    late = shop.start(at="2026-01-11T00:00:00Z")
    stranger = shop.world.customer()
    shop.world.api.post(f"/v0/subscriptions/{_subscription(shop, shop.customers[2])}/pause", expect=200)
    found = shop.simulate(
        {"planId": shop.plan, "customerIds": [late, stranger, shop.customers[2]], **SPAN, "compareWith": "present"}
    )
    by_customer = {bill["customerId"]: bill for bill in found["bills"]}
    # 21 of 31 days; who never had it, the whole time and nothing to compare with; paused after 10 days.
    assert by_customer[late]["subtotal"] == "21.00"
    assert by_customer[stranger]["subtotal"] == "31.00"
    assert by_customer[stranger]["compared"] is None
    assert by_customer[shop.customers[2]]["subtotal"] == "10.00"
    assert found["counts"]["notCompared"] == 1
    assert found["bills"][-1]["customerId"] == stranger


def _subscription(shop: Shop, customer: str) -> str:
    return str(shop.world.api.get(f"/v0/subscriptions?customerId={customer}")["data"][0]["id"])


def test_what_is_agreed_and_who_is_exempt_holds_in_the_simulated_terms(shop: Shop) -> None:
    for customer in shop.customers[:2]:
        subscription = _subscription(shop, customer)
        half = {"type": "percentageDiscount", "percentageDiscount": "0.5", "effectiveFrom": JANUARY}
        shop.world.api.post(f"/v0/subscriptions/{subscription}/adjustments", half)
    shop.world.api.patch(f"/v0/subscriptions/{_subscription(shop, shop.customers[1])}", {"taxExempt": True})
    shop.bill()
    body = shop.draft(shop.metered("standard", unitPrice="2"), customerIds=shop.customers[:2], compareWith="billed")
    bills = {bill["customerId"]: bill for bill in shop.simulate(body)["bills"]}
    # 50 × 2 less half, 10 % tax, against 31 (billed before the discount) + 50 less half.
    first = bills[shop.customers[0]]
    assert (first["subtotal"], first["tax"], first["compared"]["subtotal"]) == ("50.00", "5.00", "56.00")
    assert (bills[shop.customers[1]]["subtotal"], bills[shop.customers[1]]["tax"]) == ("300.00", "0.00")


def test_usage_that_nobody_had(shop: Shop) -> None:
    price = shop.metered("graduated", tiers=TIERS)
    usage = [
        {"billableMetricId": shop.metric, "quantity": "150", "group": {"model": "a"}},
        {"billableMetricId": shop.metric, "quantity": 50},
    ]
    draft = {"draft": {"currency": "EUR", "prices": [price, {"properties": {"unitPrice": "9.99"}}]}}
    found = shop.simulate({**draft, "usage": usage, "expand": ["lines"]})
    # 100 + 100 × 0.5, and the fee.
    (bill,) = found["bills"]
    assert [line["total"] for line in bill["lines"]] == ["150.00", "9.99"]
    assert (bill["total"], bill["customerId"], bill["compared"], found["currency"]) == ("159.99", None, None, "EUR")

    groups = [{"match": {"model": "a"}, "properties": {"unitPrice": "3"}}]
    price = shop.metered("standard", unitPrice="1", groups=groups)
    assert shop.simulate({**shop.draft(price), "usage": usage})["bills"][0]["subtotal"] == "500.00"
    price = shop.metered("percentage", percentage="0.01", fixedCharge="0.30", freeEvents=1)
    of_three = [{"billableMetricId": shop.metric, "quantity": "100", "events": 3}]
    # Two of three events of 33.33… each pay their share and 0.30.
    assert shop.simulate({**shop.draft(price), "usage": of_three})["bills"][0]["subtotal"] == "1.27"
    price = shop.metered("dynamic", minPrice="0.1", maxPrice="1")
    rated = [{"billableMetricId": shop.metric, "quantity": "10", "rate": "0.25"}]
    assert shop.simulate({**shop.draft(price), "usage": rated})["bills"][0]["subtotal"] == "2.50"
    assert shop.simulate({"planId": shop.plan, "usage": []})["bills"][0]["total"] == "34.10"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"planId": "P", "draft": {"currency": "USD", "prices": [{"properties": {}}]}, "usage": []}, "planId"),
    ({"planId": "P"}, "customerIds"),
    ({"planId": "P", "usage": [], "customerIds": ["cus_x"]}, "customerIds"),
    ({"planId": "P", "customerIds": ["cus_x"], "from": JANUARY}, "to"),
    ({"planId": "P", "customerIds": ["cus_x"], "from": FEBRUARY, "to": JANUARY}, "to"),
    ({"planId": "P", "customerIds": ["cus_x"], "from": JANUARY, "to": "2027-03-01T00:00:00Z"}, "to"),
    ({"planId": "P", "usage": [], "compareWith": "billed"}, "compareWith"),
    ({"draft": {"prices": [{"properties": {"unitPrice": "1"}}]}, "usage": []}, "draft.currency"),
    ({"draft": {"currency": "XXY", "prices": [{"properties": {"unitPrice": "1"}}]}, "usage": []}, "draft.currency"),
    ({"draft": {"planId": "P", "prices": [{"properties": {"unitPrice": "x"}}]}, "usage": []},
     "draft.prices.0.properties.unitPrice"),
    ({"draft": {"planId": "P", "prices": ["F", "U", {"billableMetricId": "M", "properties": {"unitPrice": "1"}}]},
      "usage": []}, "draft.prices.2"),
    ({"draft": {"planId": "P", "billingCadence": "PT1H", "prices": ["F"]}, "usage": []}, "draft.billingCadence"),
    ({"planId": "P", "usage": [{"billableMetricId": "bm_x", "quantity": "1"}]}, "usage.0.billableMetricId"),
    ({"planId": "P", "usage": [{"billableMetricId": "M", "quantity": "1", "group": {"x": "1"}}]}, "usage.0.group"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field"), BAD)
def test_what_makes_no_sense_is_named(shop: Shop, body: dict[str, Any], field: str) -> None:
    names = {"P": shop.plan, "F": shop.fee, "U": shop.usage, "M": shop.metric}

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner) for inner in value]
        return names.get(value, value) if isinstance(value, str) else value

    answer = shop.simulate(filled(body), expect=400)
    assert field in [error["field"] for error in answer["errors"]], answer


def test_too_much_is_refused_before_it_is_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"planId": shop.plan, "customerIds": shop.customers, **SPAN}
    monkeypatch.setattr("apps.invoicing.selectors.simulating.MOST_CHARGES", 5)
    assert shop.simulate(body, expect=400)["errors"][0]["field"] == "to"
    monkeypatch.setattr("apps.invoicing.api.simulations.MOST_CUSTOMERS", 2)
    answer = shop.simulate({"planId": shop.plan, "subscribersOf": shop.plan, **SPAN}, expect=400)
    assert answer["errors"][0]["field"] == "subscribersOf"
    monkeypatch.setattr("apps.invoicing.api.simulations.MOST_EXPLAINED", 2)
    assert shop.simulate({**body, "expand": ["provenance"]}, expect=400)["errors"][0]["field"] == "expand"


def test_nothing_of_another_merchant_is_priced(shop: Shop) -> None:
    other = make_world()
    product = other.product()
    plan = other.plan(product, [other.fee_price(product)])
    mine = {"planId": plan, **SPAN}
    for body in (
        {"planId": shop.plan, "usage": []},
        {**mine, "customerIds": shop.customers},
        {**mine, "subscribersOf": shop.plan},
        {"draft": {"planId": shop.plan, "prices": [{"properties": {"unitPrice": "1"}}]}, "usage": []},
        {"draft": {"currency": "USD", "prices": [shop.fee]}, "usage": []},
        {"draft": {"currency": "USD", "prices": [shop.metered("standard", unitPrice="1")]}, "usage": []},
    ):
        assert other.api.post("/v0/simulations", body, expect=404)["code"] == "NOT_FOUND"


def test_it_asks_as_many_questions_for_three_as_for_one(shop: Shop) -> None:
    groups = [{"match": {"model": "b"}, "properties": {"unitPrice": "2"}}]
    body = shop.draft(shop.fee, shop.metered("standard", unitPrice="1", groups=groups))
    asked = []
    for customers in (shop.customers[:1], shop.customers):
        with CaptureQueriesContext(connection) as queries:
            shop.world.api.post("/v0/simulations", {**body, "customerIds": customers}, expect=200)
        # Whose key it is, is asked again every few seconds.
        asked.append(len([query for query in queries if "organizations_apikey" not in query["sql"]]))
    assert asked[0] == asked[1]
