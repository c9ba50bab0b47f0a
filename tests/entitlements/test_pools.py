"""One pool of credits for all prices and features in a pricing unit."""

from decimal import Decimal

import pytest

from apps.entitlements.models import Grant, PoolMeter
from apps.entitlements.services.credits import follow_plans
from apps.entitlements.services.provisioning import reconcile
from apps.rating.reading import recompute
from apps.subscriptions.models import Subscription
from tests.entitlements.pools import PoolKit
from tests.world import World, at


@pytest.fixture
def kit(world: World) -> PoolKit:
    return PoolKit.make(world)


def test_input_and_output_tokens_share_ten_thousand_a_month(kit: PoolKit) -> None:
    customer, _, clock = kit.subscriber(kit.both("1", "1"), **kit.given())
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 6_000, output=1_500)
    assert kit.left(customer, "2026-01-11T00:00:00Z") == (2_500, 0)
    kit.kit.use(customer, "2026-01-20T00:00:00Z", 3_000, output=500)
    assert kit.left(customer, "2026-01-21T00:00:00Z") == (0, 1_000)
    kit.world.advance(clock, "2026-02-01T02:00:00Z")
    # The month's credits first pay what was used beyond the last.
    assert kit.left(customer) == (9_000, 0)


def test_each_price_draws_at_its_own_rate(kit: PoolKit) -> None:
    customer, _, _ = kit.subscriber(kit.both("0.5", "3"), **kit.given())
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 1_000, output=1_000)
    found = kit.pool(customer, "2026-01-11T00:00:00Z")
    assert (found["balance"], found["usage"], found["object"]) == (6_500, 3_500, "credit_pool")
    # Half-open: what is used at the moment itself is not in it yet.
    assert kit.left(customer, "2026-01-10T00:00:00Z") == (10_000, 0)


def test_what_is_left_of_a_month_is_lost_and_what_is_given_once_stays(kit: PoolKit) -> None:
    customer, _, clock = kit.subscriber(kit.both(), **kit.given(1_000, "P1M"))
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 400)
    kit.world.advance(clock, "2026-04-01T02:00:00Z")
    assert [kit.left(customer, f"2026-0{month}-15T00:00:00Z")[0] for month in (1, 2, 3)] == [600, 1_000, 1_000]
    once, _, clock = kit.subscriber(kit.both(), **kit.given(1_000, None))
    kit.kit.use(once, "2026-01-10T00:00:00Z", 400)
    kit.world.advance(clock, "2026-04-01T02:00:00Z")
    assert kit.left(once) == (600, 0)


def test_nothing_is_charged_and_the_line_says_what_was_drawn(kit: PoolKit) -> None:
    customer, subscription, clock = kit.subscriber(kit.both("0.5", "3"), **kit.given())
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 1_000, output=9_000)
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    invoice = kit.world.invoices(subscription)[-2]
    assert Decimal(invoice["grandTotal"]) == 0
    lines = kit.world.lines(invoice["id"])
    assert [(Decimal(row["totalPrice"]), Decimal(row["unitPrice"])) for row in lines] == [(0, 0)] * 2
    steps = [next(step for step in row["provenance"]["steps"] if step["source"] == "pricingUnit") for row in lines]
    assert [step["params"]["credits"] for step in steps] == ["500", "27000"]
    assert {step["params"]["pricingUnitId"] for step in steps} == {kit.unit}
    assert [recompute(row["provenance"]) for row in lines] == [0, 0]
    # Late usage costs no money either, and is drawn from the month it is of.
    kit.kit.use(customer, "2026-01-11T00:00:00Z", 0, output=100)
    kit.world.advance(clock, "2026-03-02T00:00:00Z")
    late = kit.world.lines(kit.world.invoices(subscription)[-2]["id"])
    assert sum(Decimal(row["totalPrice"]) for row in late) == 0
    assert kit.left(customer, "2026-01-15T00:00:00Z") == (0, 17_800)


def test_a_bands_rate_is_for_all_of_the_period(kit: PoolKit) -> None:
    bands = {"tiers": [{"upTo": "100", "unitPrice": "5"}, {"upTo": None, "unitPrice": "3"}]}
    price = kit.price(model="volume", properties=bands)
    customer, _, clock = kit.subscriber([price], **kit.given(1_000, None))
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 100)
    assert kit.left(customer, "2026-01-11T00:00:00Z") == (500, 0)
    # The 101st makes all of them cheaper: 303 in all. What was drawn too much is set off against what comes.
    kit.kit.use(customer, "2026-01-12T00:00:00Z", 1)
    kit.kit.use(customer, "2026-01-13T00:00:00Z", 99)
    assert kit.pool(customer, "2026-01-14T00:00:00Z")["usage"] == 600
    assert kit.left(customer, "2026-01-14T00:00:00Z") == (400, 0)
    # The next period begins with the first band.
    kit.world.advance(clock, "2026-02-01T02:00:00Z")
    kit.kit.use(customer, "2026-02-01T00:30:00Z", 10)
    assert kit.left(customer) == (350, 0)


def test_a_maximum_draws_what_it_rises_by(kit: PoolKit) -> None:
    peak = kit.world.metric(kit.kit.product, path="$.peak", aggregation="MAX")
    customer, _, clock = kit.subscriber([kit.price("10", peak)], **kit.given(1_000, None))
    for day, value in ((10, 4), (11, 2), (12, 7)):
        kit.kit.use(customer, f"2026-01-{day}T00:00:00Z", 0, peak=value)
    assert kit.left(customer, "2026-01-20T00:00:00Z") == (930, 0)
    kit.world.advance(clock, "2026-02-01T02:00:00Z")
    kit.kit.use(customer, "2026-02-01T00:30:00Z", 0, peak=3)
    assert kit.left(customer) == (900, 0)


FEATURE = {"usagePeriod": {"interval": "P1W"}}


def test_features_show_the_pool_in_their_own_periods(kit: PoolKit) -> None:
    feature, other = kit.kit.feature("chat"), kit.kit.feature("images")
    prices = [
        kit.price("1", feature={"featureId": feature, "entitlementTemplate": FEATURE}),
        kit.price("3", kit.output, feature={"featureId": other}),
    ]
    customer, _, clock = kit.subscriber(prices, **kit.given())
    kit.kit.use(customer, "2026-01-03T00:00:00Z", 1_000)
    kit.kit.use(customer, "2026-01-09T00:00:00Z", 500, output=100)
    rows = {row["featureKey"]: row for row in kit.kit.rights(customer, "&at=2026-01-10T00:00:00Z")}
    shared = ("balance", "overage", "pricingUnitId", "hasAccess", "isSoftLimit")
    assert [[row[name] for name in shared] for row in rows.values()] == [[8_200, 0, kit.unit, True, False]] * 2
    # All of the pool's usage, in the week of the one and in the month of the other.
    assert rows["chat"]["usageInPeriod"] == 800
    assert rows["images"]["usageInPeriod"] == 1_800
    assert (rows["chat"]["currentPeriodStart"], rows["chat"]["currentPeriodEnd"]) == (
        "2026-01-08T00:00:00Z", "2026-01-15T00:00:00Z",
    )  # fmt: skip
    kit.kit.use(customer, "2026-01-11T00:00:00Z", 9_000)
    kit.world.advance(clock, "2026-01-12T00:00:00Z")
    assert [(row["balance"], row["overage"], row["hasAccess"]) for row in kit.kit.rights(customer)] == [
        (0, 800, False)
    ] * 2


def test_a_features_units_go_into_the_pool(kit: PoolKit) -> None:
    template = {"usagePeriod": {"interval": "P1M"}, "issueAfterReset": 700, "isSoftLimit": True}
    feature = {"featureId": kit.kit.feature("chat"), "entitlementTemplate": template}
    prices = [kit.price("1", feature=feature), kit.price("1", kit.output)]
    customer, _, clock = kit.subscriber(prices, **kit.given(300, None))
    kit.kit.use(customer, "2026-01-03T00:00:00Z", 500, output=400)
    kit.world.advance(clock, "2026-01-15T00:00:00Z")
    assert (kit.kit.right(customer)["balance"], kit.left(customer)) == (100, (100, 0))
    kit.world.advance(clock, "2026-02-01T02:00:00Z")
    # What the plan gives goes first; the feature's are filled up.
    assert kit.left(customer) == (700, 0)
    assert kit.kit.right(customer)["hasAccess"] is True


def test_a_price_without_a_feature_draws_and_other_prices_do_not(kit: PoolKit) -> None:
    money = kit.world.usage_price(kit.output, "0.01")
    customer, subscription, clock = kit.subscriber([kit.price("1"), money], **kit.given())
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 100, output=200)
    assert kit.left(customer, "2026-01-11T00:00:00Z") == (9_900, 0)
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    assert kit.world.amounts(kit.world.invoices(subscription)[-2]["id"]) == [0, Decimal("2.00")]


def test_a_new_rate_holds_from_the_next_period_on(kit: PoolKit) -> None:
    price = kit.price("1")
    customer, _, clock = kit.subscriber([price], **kit.given())
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 100)
    kit.world.advance(clock, "2026-01-15T00:00:00Z")
    kit.world.api.patch(f"/v0/prices/{price}", {"properties": {"unitPrice": "5"}})
    kit.kit.use(customer, "2026-01-16T00:00:00Z", 100)
    kit.world.advance(clock, "2026-02-03T00:00:00Z")
    kit.kit.use(customer, "2026-02-02T00:00:00Z", 100)
    assert kit.left(customer, "2026-01-20T00:00:00Z") == (9_800, 0)
    assert kit.left(customer) == (9_500, 0)
    assert PoolMeter.objects.count() == 2


def test_a_unit_is_not_changed_under_live_subscriptions(kit: PoolKit) -> None:
    price = kit.price("1")
    kit.subscriber([price])
    found = kit.world.api.call("patch", f"/v0/prices/{price}", {"pricingUnitId": None}, expect=409).json()
    assert (found["code"], found["details"]["fields"]) == ("PRICE_IN_USE", ["pricingUnitId"])


def test_versions_change_what_recurs_and_keep_what_was_given_once(kit: PoolKit) -> None:
    other = {"merchantId": kit.world.id, "key": "images", "name": "I"}
    images = kit.world.api.post("/v1/pricingUnits", other)["id"]
    once = {"pricingUnitId": images, "amount": 50}
    plan_terms = {"creditAllocations": [*kit.given()["creditAllocations"], once]}
    customer, subscription, clock = kit.subscriber(kit.both(), **plan_terms)
    plan = kit.world.api.get(f"/v0/subscriptions/{subscription}")["planId"]
    more = {"creditAllocations": [*kit.given(20_000)["creditAllocations"], {**once, "amount": 99}]}
    kit.world.api.patch(f"/v0/plans/{plan}", more)
    kit.world.advance(clock, "2026-01-20T00:00:00Z")
    assert kit.left(customer) == (10_000, 0)
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    assert kit.left(customer) == (20_000, 0)
    # What a version no longer gives ends with the period; what was given once does not.
    kit.world.api.patch(f"/v0/plans/{plan}", {"creditAllocations": []})
    kit.world.advance(clock, "2026-03-02T00:00:00Z")
    assert kit.left(customer) == (0, 0)
    path = f"/v1/pricingUnits/{images}/pools?customerId={customer}"
    assert kit.world.api.get(path)["data"][0]["balance"] == 50


def test_what_a_person_voided_stays_void(kit: PoolKit) -> None:
    customer, subscription, clock = kit.subscriber(kit.both(), **kit.given())
    path = f"/v1/pricingUnits/{kit.unit}/grants"
    (grant,) = kit.world.api.get(f"{path}?customerId={customer}")["data"]
    assert grant["subscriptionId"] == subscription
    kit.world.api.delete(f"{path}/{grant['id']}", expect=200)
    plan = kit.world.api.get(f"/v0/subscriptions/{subscription}")["planId"]
    kit.world.api.patch(f"/v0/plans/{plan}", {"prices": [kit.both("2")[0]]})
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    assert kit.left(customer) == (0, 0)


def test_credits_of_a_plan_end_with_the_subscription_and_granted_ones_do_not(kit: PoolKit) -> None:
    customer, subscription, clock = kit.subscriber(kit.both(), **kit.given())
    kit.grant(customer, 250)
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 100)
    kit.world.advance(clock, "2026-01-15T00:00:00Z")
    assert kit.left(customer) == (10_150, 0)
    kit.world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "x"}, expect=200)
    assert kit.left(customer, "2026-01-15T00:00:01Z") == (250, 0)
    # Nobody sells the usage any more, so it draws nothing.
    kit.kit.use(customer, "2026-01-16T00:00:00Z", 100)
    assert kit.left(customer, "2026-01-17T00:00:00Z") == (250, 0)


def test_another_plan_brings_its_own_credits(kit: PoolKit) -> None:
    customer, subscription, clock = kit.subscriber(kit.both(), **kit.given())
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 4_000)
    kit.world.advance(clock, "2026-01-15T00:00:00Z")
    bigger = kit.world.plan(kit.kit.product, kit.both("2", "2"), name="Big", **kit.given(50_000))
    kit.world.api.post(f"/v0/subscriptions/{subscription}/planChange", {"planId": bigger}, expect=200)
    kit.kit.use(customer, "2026-01-16T00:00:00Z", 1_000)
    kit.world.advance(clock, "2026-01-17T00:00:00Z")
    assert kit.left(customer) == (48_000, 0)
    assert Grant.objects.filter(is_withdrawn=False).count() == 1
    kit.world.advance(clock, "2026-02-01T02:00:00Z")
    assert kit.left(customer) == (50_000, 0)


def test_an_immediate_version_draws_for_the_whole_period_by_its_prices(kit: PoolKit) -> None:
    customer, subscription, clock = kit.subscriber(kit.both(), **kit.given())
    plan = kit.world.api.get(f"/v0/subscriptions/{subscription}")["planId"]
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 100)
    kit.world.advance(clock, "2026-01-15T00:00:00Z")
    kit.world.api.patch(f"/v0/plans/{plan}", {"versionTransition": {"effectiveDate": "immediate"}})
    kit.world.api.patch(f"/v0/plans/{plan}", {"prices": kit.both("7")})
    assert kit.left(customer) == (9_300, 0)
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    line = kit.world.lines(kit.world.invoices(subscription)[-2]["id"])[0]
    drawn = [step["params"]["credits"] for step in line["provenance"]["steps"] if step["op"] == "replace"]
    assert drawn == ["700"]


def test_doing_it_again_changes_nothing(kit: PoolKit) -> None:
    customer, subscription, clock = kit.subscriber(kit.both(), **kit.given())
    kit.world.advance(clock, "2026-02-10T00:00:00Z")
    row = Subscription.objects.get(public_id=subscription)
    before = list(Grant.objects.values()), list(PoolMeter.objects.order_by("pk").values())
    for moment in ("2026-02-10T00:00:00Z", "2026-02-01T00:00:00Z"):
        follow_plans([(row, at(moment))])
    assert (list(Grant.objects.values()), list(PoolMeter.objects.order_by("pk").values())) == before
    assert kit.left(customer) == (10_000, 0)


def test_reconciling_gives_what_is_missing(kit: PoolKit) -> None:
    customer, subscription, clock = kit.subscriber(kit.both(), **kit.given())
    path = f"/v0/subscriptions/{subscription}/reconciliations"
    kit.world.api.post(path, expect=200)
    assert kit.left(customer) == (10_000, 0)
    row = Subscription.objects.get(public_id=subscription)
    PoolMeter.objects.all().delete()
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 100)
    kit.world.advance(clock, "2026-01-11T00:00:00Z")
    assert kit.left(customer) == (10_000, 0)
    reconcile(subscription_id=row.pk, as_of=at("2026-01-11T00:00:00Z"))
    assert kit.left(customer) == (9_900, 0)


def test_grants_come_in_by_the_unit_or_by_any_feature_of_it(kit: PoolKit) -> None:
    feature = kit.kit.feature("chat")
    customer, _, _ = kit.subscriber([kit.price("1", feature={"featureId": feature})])
    right = kit.kit.right(customer)["entitlementId"]
    path = f"/v1/entitlements/{right}/grants"
    made = kit.world.api.post(path, {"amount": 20, "idempotencyKey": "a"})
    assert made["entitlementId"] == right
    kit.grant(customer, 30, "b")
    again = kit.grant(customer, 30, "b")
    kit.grant(customer, 31, "b", expect=409)
    assert kit.left(customer) == (50, 0)
    listed = kit.world.api.get(path)["data"]
    assert [row["id"] for row in listed] == [again["id"], made["id"]]
    assert kit.world.api.get(f"{path}/{again['id']}")["amount"] == 30
    kit.world.api.delete(f"{path}/{made['id']}", expect=200)
    assert kit.left(customer, "2026-01-02T00:00:00Z") == (30, 0)


def test_a_customer_without_a_subscription_may_have_credits(kit: PoolKit) -> None:
    customer = kit.world.customer()
    assert kit.pools(customer) == []
    kit.grant(customer, 5)
    assert kit.left(customer) == (5, 0)
    assert kit.kit.rights(customer) == []
    kit.world.api.get(f"/v1/entitlements/{kit.pool(customer)['id']}", expect=404)
    kit.world.api.delete(f"/v0/customers/{customer}")


def test_a_right_issued_by_hand_draws_until_a_subscription_does(kit: PoolKit) -> None:
    feature = kit.kit.feature("chat")
    price = kit.price("2", feature={"featureId": feature})
    # A subscription to something else, for a test clock to live on.
    other = kit.world.product()
    plan = kit.world.plan(other, [kit.world.usage_price(kit.world.metric(other, eventType="x"))])
    clock, customer = kit.world.clock("2026-01-01T00:00:00Z"), kit.world.customer()
    kit.world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    right = kit.world.api.post("/v1/entitlements", {"customerId": customer, "featureId": feature, "template": {}})
    assert right["pricingUnitId"] == kit.unit
    kit.grant(customer, 1_000)
    kit.kit.use(customer, "2026-01-10T00:00:00Z", 100)
    kit.world.advance(clock, "2026-01-20T00:00:00Z")
    assert kit.left(customer) == (800, 0)
    plan = kit.world.plan(kit.kit.product, [price])
    subscription = kit.world.subscribe(customer, plan, at="2026-01-20T00:00:00Z", clock=clock)["id"]
    kit.kit.use(customer, "2026-01-21T00:00:00Z", 100)
    kit.world.advance(clock, "2026-01-22T00:00:00Z")
    assert kit.left(customer) == (600, 0)
    kit.world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "x"}, expect=200)
    kit.kit.use(customer, "2026-01-23T00:00:00Z", 100)
    kit.world.advance(clock, "2026-01-24T00:00:00Z")
    assert kit.left(customer) == (400, 0)
    # The end of the right ends it.
    kit.world.api.delete(f"/v1/entitlements/{right['id']}", expect=200)
    kit.kit.use(customer, "2026-01-24T12:00:00Z", 100)
    kit.world.advance(clock, "2026-01-25T00:00:00Z")
    assert kit.left(customer) == (400, 0)


def test_a_feature_of_mixed_units_is_not_issued(kit: PoolKit) -> None:
    feature = kit.kit.feature("chat")
    kit.price("1", feature={"featureId": feature})
    kit.world.usage_price(kit.output, "1", feature={"featureId": feature})
    body = {"customerId": kit.world.customer(), "featureId": feature, "template": {}}
    assert kit.world.api.post("/v1/entitlements", body, expect=409)["code"] == "FEATURE_UNITS_DIFFER"


def test_a_line_in_credits_takes_no_terms_of_money(kit: PoolKit) -> None:
    _, subscription, _ = kit.subscriber(kit.both())
    path = f"/v0/subscriptions/{subscription}/intervals"
    line = kit.world.api.get(path)["intervals"][0]
    cut = {"id": line["id"], "unitPrice": "5", "endDate": "2026-03-01T00:00:00Z"}
    body = {"edit": [cut], "changeReason": "commercial", "idempotencyKey": "e"}
    assert kit.world.api.post(path, body, expect=409)["code"] == "PRICE_IN_CREDITS"
    waived = {
        "type": "usageDiscount", "usageDiscount": "5", "targetPriceIds": [line["priceId"]],
        "effectiveFrom": "2026-02-01T00:00:00Z",
    }  # fmt: skip
    answer = kit.world.api.post(f"/v0/subscriptions/{subscription}/adjustments", waived, expect=400)
    assert [error["field"] for error in answer["errors"]] == ["targetPriceIds"]
