"""Simulated bills take off usage what rights cover, as real ones do, and say which rights those were."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.rating.reading import recompute
from tests.entitlements.kit import MILLION, START, Kit
from tests.untouched import fingerprint
from tests.world import World

pytestmark = pytest.mark.django_db

FEBRUARY = "2026-02-01T00:00:00Z"
SPAN = {"from": START, "to": FEBRUARY}
SOFT = {**MILLION, "isSoftLimit": True}
WEEKLY = {
    "usagePeriod": {"interval": "P1W"}, "issueAfterReset": 100_000, "isSoftLimit": True, "resetMaxRollover": 30_000,
}  # fmt: skip


@pytest.fixture
def kit(world: World) -> Kit:
    return Kit.make(world)


def simulate(kit: Kit, body: dict[str, Any]) -> dict[str, Any]:
    before = fingerprint()
    found: dict[str, Any] = kit.world.api.post("/v0/simulations", body, expect=200)
    assert fingerprint() == before
    return found


def sold(kit: Kit, feature: str, template: dict[str, Any] | None, name: str) -> str:
    return kit.world.plan(kit.product, [kit.price(feature, template)], name=name)


def subscribe(kit: Kit, plan: str, clock: str) -> tuple[str, str]:
    customer = kit.world.customer()
    return customer, kit.world.subscribe(customer, plan, at=START, clock=clock)["id"]


def use(kit: Kit, customer: str) -> None:
    for day, tokens in ((3, 400_000), (9, 150_000), (20, 900_000), (30, 40_000)):
        kit.use(customer, f"2026-01-{day:02}T10:20:00Z", tokens)


def billed(kit: Kit, subscription: str) -> Decimal:
    """Give what January came to on the invoice."""
    return sum(kit.world.amounts(kit.world.invoices(subscription)[-2]["id"]), Decimal(0))


@pytest.mark.parametrize("template", [SOFT, MILLION, WEEKLY, {**WEEKLY, "preserveOverageAtReset": True}])
def test_the_present_terms_give_what_was_billed(kit: Kit, template: dict[str, Any]) -> None:
    """With a grant and a reset by hand, which only the rights that are there know of."""
    plan, clock = sold(kit, kit.feature(), template, "Pro"), kit.world.clock(START)
    customer, subscription = subscribe(kit, plan, clock)
    right = kit.right(customer)["entitlementId"]
    kit.world.api.post(f"/v1/entitlements/{right}/grants", {"amount": 60_000, "idempotencyKey": "g"})
    use(kit, customer)
    kit.world.advance(clock, "2026-01-13T00:00:00Z")
    kit.world.api.post(f"/v1/entitlements/{right}/reset", {"idempotencyKey": "r"})
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    found = simulate(
        kit, {"planId": plan, "customerIds": [customer], **SPAN, "compareWith": "billed", "expand": ["provenance"]}
    )
    (bill,) = found["bills"]
    assert Decimal(bill["subtotal"]) == Decimal(bill["compared"]["subtotal"]) == billed(kit, subscription)
    (units,) = bill["allowances"]
    assert (units["basis"], units["entitlementIds"], units["featureKey"]) == ("entitlement", [right], "tokens")
    assert Decimal(units["covered"]) > 0
    assert bill["comparedAllowances"] == []
    assert len(found["assumptions"]) == 1
    for line in bill["lines"]:
        assert recompute(line["provenance"]) == Decimal(line["subtotal"])
    present = simulate(kit, {"planId": plan, "customerIds": [customer], **SPAN})["bills"][0]
    assert present["difference"] == "0.00"
    assert present["comparedAllowances"] == present["allowances"] == bill["allowances"]


@pytest.mark.parametrize("template", [SOFT, MILLION, WEEKLY, {**WEEKLY, "preserveOverageAtReset": True}, None])
def test_other_terms_give_what_a_twin_on_them_is_billed(kit: Kit, template: dict[str, Any] | None) -> None:
    feature, clock = kit.feature(), kit.world.clock(START)
    other = {**MILLION, "issueAfterReset": 1_200_000, "isSoftLimit": True}
    present, offered = sold(kit, feature, other, "Present"), sold(kit, feature, template, "Offered")
    customer, subscription = subscribe(kit, present, clock)
    _twin, twins = subscribe(kit, offered, clock)
    use(kit, customer)
    use(kit, _twin)
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    found = simulate(kit, {"planId": offered, "customerIds": [customer], **SPAN})
    (bill,) = found["bills"]
    assert Decimal(bill["subtotal"]) == billed(kit, twins)
    # 1,490,000 less 1,200,000, at 0.000002: the other side goes by what is there.
    assert Decimal(bill["compared"]["subtotal"]) == billed(kit, subscription) == Decimal("0.58")
    assert [units["basis"] for units in bill["allowances"]] == ["template"]
    assert bill["allowances"][0]["entitlementIds"] == []
    assert [units["basis"] for units in bill["comparedAllowances"]] == ["entitlement"]
    assert len(found["assumptions"]) == 2


def test_a_draft_may_bring_a_feature(kit: Kit) -> None:
    feature, clock = kit.feature(), kit.world.clock(START)
    out = kit.world.metric(kit.product, path="$.output")
    plan = kit.world.plan(kit.product, [kit.world.usage_price(kit.metric), kit.world.usage_price(out, "0.00001")])
    customer, _ = subscribe(kit, plan, clock)
    kit.use(customer, "2026-01-10T00:00:00Z", 900_000, output=300_000)

    def price(metric: str, rate: str, template: dict[str, Any] | None) -> dict[str, Any]:
        attached = {"featureId": feature} | ({} if template is None else {"entitlementTemplate": template})
        return {"billableMetricId": metric, "properties": {"unitPrice": rate}, "feature": attached}

    draft = {"planId": plan, "prices": [price(kit.metric, "0.000002", SOFT), price(out, "0.00001", None)]}
    found = simulate(kit, {"draft": draft, "customerIds": [customer], **SPAN, "expand": ["lines"]})
    (bill,) = found["bills"]
    # Three quarters of the overage at one price, a quarter at the other; and the whole usage as it is.
    assert [line["subtotal"] for line in bill["lines"]] == ["0.30", "0.50"]
    assert [line["subtotal"] for line in bill["comparedLines"]] == ["1.80", "3.00"]
    assert bill["allowances"][0]["covered"] == "1000000"
    assert bill["comparedAllowances"] == []
    bad = {**price(kit.metric, "1", {"no": 1})}
    answer = kit.world.api.post(
        "/v0/simulations", {"draft": {"planId": plan, "prices": [bad]}, "usage": []}, expect=400
    )
    assert answer["errors"][0]["field"] == "draft.prices.0.feature.entitlementTemplate.no"


def test_what_was_issued_by_hand_stays_under_other_terms(kit: Kit) -> None:
    feature, clock = kit.feature(), kit.world.clock(START)
    plan = sold(kit, feature, SOFT, "Pro")
    customer, other = kit.world.customer(), kit.world.customer()
    right = kit.world.api.post(
        "/v1/entitlements",
        {
            "customerId": customer, "featureId": feature, "template": {"issueAfterReset": 7, "isSoftLimit": True},
            "activeFrom": "2025-12-01T00:00:00Z",
        },
    )["id"]  # fmt: skip
    for one in (customer, other):
        kit.world.subscribe(one, plan, at=START, clock=clock)
        kit.use(one, "2026-01-10T00:00:00Z", 1_300_007)
    offered = sold(kit, feature, {**SOFT, "issueAfterReset": 300_007}, "Offered")
    found = simulate(kit, {"planId": offered, "customerIds": [customer, other], **SPAN})
    bills = {bill["customerId"]: bill for bill in found["bills"]}
    assert bills[customer]["subtotal"] == bills[customer]["compared"]["subtotal"] == "2.60"
    assert bills[customer]["allowances"][0]["entitlementIds"] == [right]
    assert bills[other]["subtotal"] == "2.00"
    assert bills[other]["allowances"][0]["basis"] == "template"


def test_usage_that_nobody_had_comes_evenly(kit: Kit) -> None:
    feature = kit.feature()
    monthly, weekly = (
        sold(kit, feature, SOFT, "Monthly"),
        sold(kit, feature, {**WEEKLY, "resetMaxRollover": 0}, "Weekly"),
    )
    usage = [{"billableMetricId": kit.metric, "quantity": 1_400_000}]
    body = {"usage": usage, "from": "2026-02-01T00:00:00Z"}
    found = simulate(kit, {"planId": monthly, **body})
    (bill,) = found["bills"]
    assert (bill["subtotal"], bill["allowances"][0]["covered"]) == ("0.80", "1000000")
    assert found["assumptions"][-1] == "Made-up usage comes evenly over the period."
    # Four weeks of 350,000, of which each has 100,000.
    assert simulate(kit, {"planId": weekly, **body})["bills"][0]["subtotal"] == "2.00"
    little = [{"billableMetricId": kit.metric, "quantity": 200_000}]
    (bill,) = simulate(kit, {"planId": weekly, "usage": little, "from": "2026-02-01T00:00:00Z"})["bills"]
    assert (bill["subtotal"], bill["allowances"][0]["covered"]) == ("0.00", "200000")


def test_it_asks_as_many_questions_for_three_as_for_one(kit: Kit) -> None:
    feature, clock = kit.feature(), kit.world.clock(START)
    plan, offered = sold(kit, feature, SOFT, "Pro"), sold(kit, feature, WEEKLY, "Offered")
    customers = [subscribe(kit, plan, clock)[0] for _ in range(3)]
    for customer in customers:
        kit.use(customer, "2026-01-10T00:00:00Z", 1_300_000)
    asked = []
    for some in (customers[:1], customers):
        with CaptureQueriesContext(connection) as queries:
            kit.world.api.post("/v0/simulations", {"planId": offered, "customerIds": some, **SPAN}, expect=200)
        asked.append(len([query for query in queries if "organizations_apikey" not in query["sql"]]))
    assert asked[0] == asked[1]
