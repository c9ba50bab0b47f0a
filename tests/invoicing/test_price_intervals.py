"""The price timeline of a subscription: what is ahead is agreed anew, what exists stays."""

from decimal import Decimal
from itertools import pairwise

import pytest

from apps.subscriptions.models import SubscriptionInterval, SubscriptionIntervalChange, SubscriptionQuantity
from tests.invoicing.deals import APRIL, FEBRUARY, JANUARY, MARCH, Deal
from tests.world import World, make_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def deal(world: World) -> Deal:
    return Deal(world)


def test_a_plain_subscription_shows_its_plan_and_stores_nothing(deal: Deal) -> None:
    found = deal.timeline()
    assert [(one["priceKey"], one["kind"], one["billingCadence"], one["billingMode"]) for one in found] == [
        ("seats", "plan_line", "P1M", "advance"),
        ("backups", "plan_line", "P1M", "arrears"),
        ("setup", "plan_line", "one_off", "advance"),
        ("tokens", "plan_line", "P1M", "arrears"),
    ]
    assert {one["startDate"] for one in found} == {JANUARY}
    assert {(one["endDate"], one["unitPrice"], one["baseQuantity"]) for one in found} == {(None, None, "1")}
    assert [one["billDate"] for one in found] == [None, None, JANUARY, None]
    assert found == deal.timeline()
    assert not SubscriptionInterval.objects.exists()
    assert not SubscriptionQuantity.objects.exists()


def test_an_override_holds_for_its_time_and_the_plan_before_and_after(deal: Deal) -> None:
    answer = deal.add("seats", FEBRUARY, "24.00", endDate=MARCH)
    assert (answer["unchanged"], answer["lineItems"]) == (
        False,
        {"created": 1, "removed": 1, "syncFailed": False},
    )
    assert deal.spans("seats") == [
        (JANUARY, FEBRUARY, None), (FEBRUARY, MARCH, "24"), (MARCH, None, None),
    ]  # fmt: skip
    assert SubscriptionInterval.objects.count() == 1
    # Sent once more it meets itself.
    assert deal.add("seats", FEBRUARY, "24.00", endDate=MARCH, expect=409)["code"] == "INTERVAL_OVERLAP"
    deal.advance("2026-03-02T00:00:00Z")
    # The start: a seat and the setup; then February's seat for 24, March's for 30, each with a backup.
    assert deal.totals() == ["50.00", "26.80", "32.80"]
    line = deal.world.lines(deal.world.invoices(deal.id)[1]["id"])[-1]
    assert line["provenance"]["sources"]["interval"]["ref"]["intervalId"] == deal.timeline("seats")[1]["id"]


def test_usage_is_priced_by_the_terms_of_its_time(deal: Deal) -> None:
    deal.add("tokens", "2026-02-11T00:00:00Z", "0.50")
    for day, tokens in (("2026-02-10T23:59:59Z", 7), ("2026-02-11T00:00:00Z", 20), ("2026-03-05T00:00:00Z", 4)):
        deal.advance(day)
        deal.world.send(deal.customer, day, tokens=tokens)
    deal.advance("2026-04-02T00:00:00Z")
    assert [row for row in deal.bill(2) if row[0] == "Tokens"] == [("Tokens", "7", "7.00"), ("Tokens", "20", "10.00")]
    assert [row for row in deal.bill(3) if row[0] == "Tokens"] == [("Tokens", "4", "2.00")]


def test_late_usage_goes_by_the_terms_of_its_time(deal: Deal) -> None:
    deal.add("tokens", "2026-02-11T00:00:00Z", "0.50")
    deal.advance("2026-03-02T00:00:00Z")
    deal.world.send(deal.customer, "2026-02-20T00:00:00Z", tokens=10)
    deal.world.send(deal.customer, "2026-02-02T00:00:00Z", tokens=3)
    deal.advance("2026-04-02T00:00:00Z")
    late = [row for row in deal.bill(3) if "late" in row[0]]
    assert sorted(late) == [("Tokens (late usage)", "10", "5.00"), ("Tokens (late usage)", "3", "3.00")]


def test_bounds_hold_a_split_period_as_a_whole(deal: Deal) -> None:
    deal.add("tokens", "2026-02-15T00:00:00Z", "0.50")
    bound = {"type": "minimumQuantity", "minimumQuantity": "100", "targetPriceIds": [deal.tokens]}
    deal.world.api.post(f"/v0/subscriptions/{deal.id}/adjustments", {**bound, "effectiveFrom": JANUARY})
    deal.advance("2026-02-20T00:00:00Z")
    deal.world.send(deal.customer, "2026-02-03T00:00:00Z", tokens=10)
    deal.world.send(deal.customer, "2026-02-19T00:00:00Z", tokens=30)
    deal.advance("2026-03-02T00:00:00Z")
    # 40 of at least 100: both parts grow by the same factor, 2.5.
    tokens = [row for row in deal.bill(2) if row[0] == "Tokens"]
    assert tokens == [("Tokens", "25", "25.00"), ("Tokens", "75", "37.50")]
    # Ten more of the first part: 50 of 100, so 40 and 60; what was billed comes off each.
    deal.world.send(deal.customer, "2026-02-04T00:00:00Z", tokens=10)
    deal.advance("2026-04-02T00:00:00Z")
    late = {row[0]: row[2] for row in deal.bill(3) if row[0].startswith("Tokens (")}
    assert late == {"Tokens (late usage)": "15.00", "Tokens (correction)": "-7.50"}


def test_quantities_change_within_a_coming_period(deal: Deal) -> None:
    transitions = [
        {"effectiveDate": "2026-02-08T00:00:00Z", "quantity": "3"},
        {"effectiveDate": "2026-02-22T00:00:00Z", "quantity": "2"},
    ]
    deal.add("seats", FEBRUARY, baseQuantity="1", quantityTransitions=transitions)
    deal.add("backups", FEBRUARY, baseQuantity="0", quantityTransitions=transitions[:1], endDate=MARCH)
    shown = deal.timeline("seats")[1]
    assert (shown["baseQuantity"], shown["quantityTransitions"]) == ("1", transitions)
    deal.advance("2026-03-02T00:00:00Z")
    # In advance, on January's bill: 7 days of one, 14 of three, 7 of two, of 28.
    assert deal.bill(1)[1:] == [
        ("Platform fee", "1", "7.50"), ("Platform fee", "3", "45.00"), ("Platform fee", "2", "15.00"),
    ]  # fmt: skip
    # In arrears, on February's: none for a week, three for three; then two seats in March.
    assert deal.bill(2) == [
        ("Platform fee", "0", "0.00"), ("Platform fee", "3", "6.30"), ("Platform fee", "2", "60.00"),
    ]  # fmt: skip


def test_parts_sum_to_what_one_rounding_gives(world: World) -> None:
    deal = Deal(world)
    days = ["2026-02-05T07:00:00Z", "2026-02-11T09:30:00Z", "2026-02-17T13:00:00Z", "2026-02-23T21:45:00Z"]
    transitions = [{"effectiveDate": day, "quantity": str(1 + n % 2)} for n, day in enumerate(days, start=1)]
    deal.add("backups", FEBRUARY, "0.01", quantityTransitions=transitions, endDate=MARCH)
    deal.advance("2026-03-02T00:00:00Z")
    parts = [Decimal(amount) for name, _, amount in deal.bill(2)[:-1]]
    seconds = [0, 370800, 898200, 1429200, 1979100, 2419200]
    exact = sum(
        Decimal("0.01") * (1 + n % 2) * (end - start) / 2419200 for n, (start, end) in enumerate(pairwise(seconds))
    )
    assert len(parts) == 5
    assert sum(parts) == round(exact, 2) == Decimal("0.01")


def test_a_price_is_closed_within_a_period_and_opened_again(deal: Deal) -> None:
    first = deal.timeline("seats")[0]
    edit = {"id": first["id"], "endDate": "2026-02-15T00:00:00Z"}
    answer = deal.edit(edit=[edit])
    assert [one["endDate"] for one in answer["intervals"] if one["priceKey"] == "seats"] == [edit["endDate"]]
    assert deal.edit(edit=[edit])["unchanged"] is True
    # What is closed is opened by its end, not by another interval.
    assert deal.add("seats", MARCH, "1.00", expect=409)["code"] == "INTERVAL_OVERLAP"
    deal.advance("2026-03-02T00:00:00Z")
    assert deal.bill(1)[1:] == [("Platform fee", "1", "15.00")]
    assert deal.bill(2) == [("Platform fee", "1", "2.80")]
    # Half of February was never billed, and is now a period that exists.
    assert deal.edit(409, edit=[{"id": first["id"], "endDate": None}])["code"] == "BILLING_PERIOD_EXISTS"


def test_opened_again_before_it_comes_it_is_as_if_never_closed(deal: Deal) -> None:
    before = deal.timeline()
    shown = deal.timeline("seats")[0]["id"]
    deal.edit(edit=[{"id": shown, "endDate": MARCH}])
    deal.edit(edit=[{"id": shown, "endDate": APRIL}])
    assert deal.spans("seats") == [(JANUARY, APRIL, None)]
    deal.edit(edit=[{"id": shown, "endDate": None}])
    assert deal.timeline() == before
    assert not SubscriptionInterval.objects.exists()
    assert SubscriptionIntervalChange.objects.count() == 3


def test_an_edit_of_the_plans_own_interval_is_a_difference(deal: Deal) -> None:
    shown = deal.timeline("backups")[0]
    # As it was read it changes nothing, and nothing is written.
    same = {name: value for name, value in shown.items() if name != "kind"}
    answer = deal.edit(edit=[same])
    assert (answer["unchanged"], answer["intervalChange"]) == (True, None)
    assert answer["lineItems"] == {"created": 0, "removed": 0, "syncFailed": False}
    transitions = [{"effectiveDate": FEBRUARY, "quantity": "4"}]
    answer = deal.edit(edit=[{**same, "quantityTransitions": transitions}], changeReason="commercial")
    assert not SubscriptionInterval.objects.exists()
    change = answer["intervalChange"]
    assert [(entry["intervalId"], entry["before"]["quantityTransitions"]) for entry in change["intervals"]] == [
        (shown["id"], [])
    ]
    assert change["intervals"][0]["after"]["quantityTransitions"] == transitions
    deal.advance("2026-03-02T00:00:00Z")
    assert deal.bill(2)[0] == ("Platform fee", "4", "11.20")


def test_an_override_is_edited_and_removed(deal: Deal) -> None:
    deal.add("seats", FEBRUARY, "24.00")
    row = deal.timeline("seats")[1]
    deal.edit(edit=[{"id": row["id"], "unitPrice": "12", "baseQuantity": "2"}])
    deal.advance("2026-02-02T00:00:00Z")
    assert deal.bill(1)[1] == ("Platform fee", "2", "24.00")
    # It has begun, so it ends ahead, and the plan goes on.
    assert deal.edit(409, remove=[{"id": row["id"]}])["code"] == "BILLING_PERIOD_EXISTS"
    deal.edit(edit=[{"id": row["id"], "endDate": MARCH}])
    assert deal.spans("seats")[-1] == (FEBRUARY, MARCH, "12")
    deal.edit(edit=[{"id": row["id"], "endDate": None}])
    deal.add("backups", APRIL, "1")
    later = deal.timeline("backups")[1]
    deal.edit(remove=[{"id": later["id"]}])
    assert deal.spans("backups") == [(JANUARY, None, None)]


def test_a_price_of_this_subscription_only(deal: Deal) -> None:
    world = deal.world
    extra = world.fee_price(deal.product, "9.00")
    op = {"billingMode": "advance", "endDate": "2026-03-15T00:00:00Z", "priceId": extra}
    deal.add("support", FEBRUARY, **op)
    shown = deal.timeline("support")
    assert [(one["kind"], one["unitPrice"], one["priceId"]) for one in shown] == [("subscription_owned", "9", extra)]
    # It keeps the rate that it was made with.
    world.api.patch(f"/v0/prices/{extra}", {"properties": {"unitPrice": "90.00"}})
    deal.advance("2026-04-02T00:00:00Z")
    support = [deal.bill(number)[-1] for number in (1, 2)]
    # All of February; 14 of the 31 days of March.
    assert support == [("Platform fee", "1", "9.00"), ("Platform fee", "1", "4.06")]
    assert deal.totals() == ["50.00", "41.80", "36.86", "32.80"]


def test_a_metered_price_of_this_subscription_only(deal: Deal) -> None:
    world = deal.world
    extra = world.usage_price(world.metric(deal.product, path="$.images"), unit_price="5")
    deal.add("images", "2026-01-11T00:00:00Z", "4", priceId=extra)
    deal.advance("2026-01-20T00:00:00Z")
    for day in ("2026-01-10T00:00:00Z", "2026-01-12T00:00:00Z"):
        world.send(deal.customer, day, images=2)
    deal.advance("2026-02-02T00:00:00Z")
    assert deal.bill(1)[-1] == ("Tokens", "2", "8.00")


def test_a_charge_that_falls_due_once(deal: Deal) -> None:
    extra = deal.world.fee_price(deal.product, "100.00", billingCadence="P0D")
    op = {"priceId": extra, "billingCadence": "one_off", "billingMode": "advance"}
    assert deal.add("training", FEBRUARY, expect=400, **op)["errors"][0]["field"] == "add.0.billDate"
    day = "2026-02-10T00:00:00Z"
    deal.add("training", FEBRUARY, "80", billDate=day, baseQuantity="2", **op)
    assert deal.timeline("training")[0]["billDate"] == day
    again = deal.add("training", APRIL, billDate=APRIL, expect=409, **op)
    assert again["code"] in {"INTERVAL_OVERLAP", "INTERVAL_BILLED_ONCE"}
    deal.advance("2026-04-02T00:00:00Z")
    assert deal.totals() == ["50.00", "32.80", "192.80", "32.80"]
    assert deal.bill(2)[-1] == ("Platform fee", "2", "160.00")


def test_an_own_price_leaves_no_gap_and_is_billed_under_one_key(deal: Deal) -> None:
    extra = deal.world.fee_price(deal.product, "9.00")
    own = {"billingMode": "advance", "priceId": extra}
    deal.add("support", FEBRUARY, endDate=MARCH, **own)
    assert deal.add("support", APRIL, expect=409, **own)["code"] == "INTERVAL_GAP"
    assert deal.add("help", APRIL, expect=409, **own)["code"] == "PRICE_BILLED"
    deal.add("support", MARCH, "7", **own)
    assert deal.spans("support") == [(FEBRUARY, MARCH, "9"), (MARCH, None, "7")]
    foreign = Deal(make_world())
    assert deal.add("help", APRIL, expect=400, billingMode="advance", priceId=foreign.seats)["errors"]
    both = [{"id": one["id"]} for one in deal.timeline("support")]
    deal.edit(remove=both)
    assert deal.timeline("support") == []


def test_before_the_start_everything_can_be_agreed(world: World) -> None:
    deal = Deal(world)
    body = {"name": "x", "planId": deal.plan, "customerId": world.customer(), "startedAt": MARCH}
    made = world.api.post("/v0/subscriptions", {**body, "testClockId": deal.clock})
    deal.id, deal.url = made["id"], f"/v0/subscriptions/{made['id']}/intervals"
    deal.add("seats", MARCH, "21")
    assert deal.add("seats", "2026-02-20T00:00:00Z", "21", expect=400)["errors"][0]["field"] == "add.0.startDate"
    deal.advance("2026-03-02T00:00:00Z")
    assert world.api.get(f"/v0/subscriptions/{made['id']}")["payment"]["amount"] == "41.00"
