"""Issued invoices of every kind, worked out again from the provenance of their lines alone."""

import copy
from typing import Any

import pytest

from tests.entitlements.kit import MILLION, Kit
from tests.invoicing.twins import PRICES, Twins
from tests.provenance import recompute_invoice
from tests.recomputing import check_lines
from tests.taxes.merchants import FRENCH_ID, billed, customer_in, plan_of, settle_in_berlin, settle_in_montreal
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY, FEBRUARY, MARCH, APRIL = (f"2026-0{month}-01T00:00:00Z" for month in range(1, 5))


def checked(world: World, subscription: str) -> list[dict[str, Any]]:
    """Work all issued invoices of a subscription out again; gives their lines."""
    found: list[dict[str, Any]] = []
    for invoice in world.invoices(subscription):
        if invoice["issuedAt"] is not None:
            lines = world.lines(invoice["id"])
            again = check_lines(lines)
            assert len(again) == len(lines)
            found += lines
    return found


def steps_of(lines: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Give the kinds of steps: what is done, to what, by which source."""
    return {(step["op"], step["on"], step["source"]) for line in lines for step in line["provenance"]["steps"]}


@pytest.mark.parametrize(("currency", "behavior"), [("USD", "exclusive"), ("JPY", "inclusive"), ("KWD", "exclusive")])
@pytest.mark.parametrize("model", PRICES)
def test_every_price_model_early_late_and_corrected(world: World, model: str, currency: str, behavior: str) -> None:
    twins = Twins.on(world, PRICES[model], tax="19", currency=currency, taxBehavior=behavior)
    for day, tokens in ((3, 5), (5, 17), (7, 9)):
        twins.use(f"2026-01-0{day}T00:00:00Z", tokens=tokens, model=("opus", "haiku")[day % 2], price="0.37")
    twins.advance("2026-01-15T00:00:00Z")
    twins.bill()
    twins.use("2026-01-20T00:00:00Z", tokens=11, model="opus", price="0.9")
    twins.advance("2026-02-02T00:00:00Z")
    twins.use("2026-01-25T00:00:00Z", tokens=23, model="haiku", price="0.001")
    twins.use("2026-02-05T00:00:00Z", tokens=400, model="sonnet")
    twins.advance("2026-03-02T00:00:00Z")
    twins.void(2)
    twins.advance("2026-04-02T00:00:00Z")
    for _, subscription in (twins.split, twins.whole):
        lines = checked(world, subscription["id"])
        assert {
            step["in"]["model"] for line in lines for step in line["provenance"]["steps"] if step["op"] == "evaluate"
        } >= {PRICES[model]["model"]}
        assert ("subtract", "amount", "earlierInvoice") in steps_of(lines)
    assert twins.totals()[0] == twins.totals()[1]


def test_everything_that_is_agreed_beside_the_prices(world: World) -> None:
    settle_in_montreal(world)
    product = world.product()
    seats = world.fee_price(product, "31.01")
    backups = world.fee_price(product, "3.33", paymentTerm="in_arrears")
    tokens = world.usage_price(world.metric(product), "0.333", spendCap={"amount": "90.00"})
    calls = world.usage_price(world.metric(product, path="$.calls"), "0.01", minimumCommitment={"amount": "7.77"})
    lines = [(seats, "seats"), (backups, "backups"), (tokens, "tokens"), (calls, "calls")]
    plan = world.plan(
        product, [{"priceId": p, "key": k} for p, k in lines],  # type: ignore[misc]
        billingAnchor="2026-01-01T00:00:00Z", minimumCommitment={"amount": "310.00"}, creditUnusedAtEnd=True,
    )  # fmt: skip
    customer, clock = customer_in(world, "CA", state="QC", zipCode="H2X 1Y4"), world.clock("2026-01-11T00:00:00Z")
    items = [{"priceKey": "seats", "quantity": "2"}]
    made = world.subscribe(customer, plan, at="2026-01-11T00:00:00Z", clock=clock, items=items)
    world.pay(made["payment"]["invoiceId"])
    path = f"/v0/subscriptions/{made['id']}"
    for kind, value, target in (
        ("percentageDiscount", "0.15", None), ("usageDiscount", "7", tokens), ("maximumQuantity", "400", tokens),
        ("minimumQuantity", "3", backups),
    ):  # fmt: skip
        body = {"type": kind, kind: value, "effectiveFrom": "2026-01-12T00:00:00Z"}
        world.api.post(f"{path}/adjustments", body | ({"targetPriceIds": [target]} if target else {}))
    for code, terms in (
        ("PART", {"duration": "forever", "percentageOff": "0.07"}),
        ("SUM", {"duration": "once", "amountOff": "33.33", "currency": "USD"}),
    ):
        world.api.post("/v0/coupons", {"merchantId": world.id, "code": code, "name": code, **terms})
        world.api.post(f"/v0/customers/{customer}/coupons", {"code": code})
    world.send(customer, "2026-01-15T00:00:00Z", tokens=500, key="many", calls=11)
    world.send(customer, "2026-01-16T00:00:00Z", tokens=3, calls=5)
    world.advance(clock, "2026-01-20T00:00:00Z")
    body = {
        "displayName": "Visit",
        "currency": "USD",
        "quantity": "1.5",
        "unitPrice": "33.335",
        "subscriptionId": made["id"],
    }
    world.api.post("/v2/invoices/lineItems", body)
    more = {"items": [{"priceKey": "seats", "quantity": "5"}], "effectiveAt": "2026-01-21T00:00:00Z"}
    world.api.post(f"{path}/quantityChange", more, expect=200)
    world.advance(clock, "2026-02-02T00:00:00Z")
    world.send(customer, "2026-01-17T00:00:00Z", tokens=100)
    world.api.post("/v0/events/void", {"reason": "test", "idempotencyKeys": ["many"]}, expect=200)
    world.send(customer, "2026-02-17T00:00:00Z", tokens=900, calls=5000)
    fewer = {"items": [{"priceKey": "seats", "quantity": "1"}], "effectiveAt": "2026-02-11T00:00:00Z"}
    world.api.post(f"{path}/quantityChange", fewer, expect=200)
    world.advance(clock, "2026-03-02T00:00:00Z")
    other = world.plan(product, [world.fee_price(product, "62.00")], name="Other")
    world.api.post(f"{path}/planChange", {"planId": other, "timing": "now"}, expect=200)
    world.advance(clock, "2026-04-02T00:00:00Z")
    found = checked(world, made["id"])
    assert steps_of(found) >= {
        ("prorate", "amount", "period"), ("prorate", "amount", "adjustment"), ("prorate", "amount", "coupon"),
        ("cap", "amount", "coupon"), ("scaleToBound", "amount", "line"), ("subtract", "quantity", "adjustments"),
        ("clamp", "quantity", "adjustments"), ("subtract", "amount", "line"), ("subtract", "amount", "spend"),
        ("subtract", "amount", "earlierInvoice"), ("evaluate", "price", "manual"), ("replace", "amount", "spend"),
    }  # fmt: skip
    kinds = {line["provenance"]["inputs"]["kind"] for line in found}
    assert kinds == {"fee", "metered", "manual", "discount", "adjustment", "commitment"}
    assert any(line["isLate"] and line["totalPrice"].startswith("-") for line in found)
    assert {len(line["provenance"]["tax"]["taxes"]) for line in found} == {2}


@pytest.mark.parametrize("behavior", ["exclusive", "inclusive"])
@pytest.mark.parametrize("whose", ["stacked", "reverse charge", "at home", "outside"])
def test_taxes_of_every_kind(world: World, whose: str, behavior: str) -> None:
    (settle_in_montreal if whose == "stacked" else settle_in_berlin)(world)
    where: dict[str, Any] = {
        "stacked": {"country": "CA", "state": "QC", "zipCode": "H2X 1Y4"},
        "reverse charge": {"country": "FR", "taxId": FRENCH_ID},
        "at home": {"country": "DE"},
        "outside": {"country": "US", "state": "OR", "zipCode": "97204"},
    }[whose]
    country = where.pop("country")
    invoice = billed(world, customer_in(world, country, **where), plan_of(world, "49.99", taxBehavior=behavior))
    lines = world.lines(invoice)
    again = check_lines(lines)
    assert len(again) == 2
    count = {"stacked": 2, "reverse charge": 0, "at home": 1, "outside": 0}[whose]
    assert all(len(line.taxes) == count and bool(line.tax) == bool(count) for line in again)


def test_what_an_allowance_pays_for(world: World) -> None:
    kit = Kit.make(world)
    price = kit.price(kit.feature(), {**MILLION, "isSoftLimit": True})
    customer, subscription, clock = kit.subscriber([price])
    kit.use(customer, "2026-01-10T00:00:00Z", 1_300_000)
    world.advance(clock, "2026-02-02T00:00:00Z")
    kit.use(customer, "2026-01-11T00:00:00Z", 300_000)
    world.advance(clock, "2026-03-02T00:00:00Z")
    assert ("subtract", "quantity", "entitlement") in steps_of(checked(world, subscription))
    # The ledger of lines gives what discounts waived; an allowance is none.
    ledger = world.api.get(f"/v2/invoices/lineItems?subscriptionId={subscription}")["data"]
    assert [line["usageDiscountIds"] for line in ledger] == [[]] * len(ledger)


def test_a_threshold_and_a_rebate_that_gives_way(world: World) -> None:
    product = world.product()
    tokens = world.usage_price(world.metric(product), "1")
    back = world.usage_price(world.metric(product, path="$.back"), "-5")
    plan = world.plan(product, [tokens, back], billingThresholds={"amounts": ["50"]})
    customer, clock = world.customer(), world.clock(JANUARY)
    made = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    world.send(customer, "2026-01-05T00:00:00Z", tokens=60)
    world.advance(clock, "2026-01-10T00:00:00Z")
    world.send(customer, "2026-01-12T00:00:00Z", tokens=3, back=900)
    world.advance(clock, "2026-02-02T00:00:00Z")
    found = checked(world, made["id"])
    assert ("setToBound", "amount", "invoiceTotal") in steps_of(found)


def test_a_changed_figure_does_not_go_unnoticed(world: World) -> None:
    twins = Twins.on(world, PRICES["graduated"], tax="19")
    twins.use("2026-01-03T00:00:00Z", tokens=12, model="opus")
    twins.advance("2026-02-02T00:00:00Z")
    (line,) = world.lines(world.invoices(twins.whole[1]["id"])[0]["id"])
    check_lines([line])
    for path, value in (
        (("totalTax",), "9.99"), (("unitPrice",), "1"), (("quantity",), 13),
        (("provenance", "steps", 0, "params", "quantity"), "13"), (("provenance", "steps", 0, "out"), "1"),
        (("provenance", "steps", 0, "in", "bands", 0, "rate"), "1.006"), (("provenance", "result", "amount"), "1"),
        (("provenance", "tax", "taxes", 0, "percent"), "20"), (("provenance", "steps", 1, "params", "digits"), 1),
    ):  # fmt: skip
        other = copy.deepcopy(line)
        place: Any = other
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        with pytest.raises(AssertionError):
            check_lines([other])
    assert recompute_invoice([line["provenance"]])[0].gross == recompute_invoice([line["provenance"]])[0].net
