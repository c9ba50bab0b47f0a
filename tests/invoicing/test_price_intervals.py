"""The price timeline of a subscription: what is ahead is agreed anew, what exists stays."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.rating.lines import recompute
from apps.subscriptions.models import SubscriptionInterval, SubscriptionIntervalChange, SubscriptionQuantity
from tests.world import World, make_world

pytestmark = pytest.mark.django_db

JANUARY, FEBRUARY, MARCH, APRIL = (f"2026-0{month}-01T00:00:00Z" for month in range(1, 5))


class Deal:
    """A monthly plan: 30.00 a seat in advance, 2.80 a backup in arrears, 20.00 once, and tokens at 1.00."""

    def __init__(self, world: World, **plan: Any) -> None:
        self.world, self.product = world, world.product()
        self.seats = world.fee_price(self.product, "30.00")
        self.backups = world.fee_price(self.product, "2.80", paymentTerm="in_arrears")
        self.setup = world.fee_price(self.product, "20.00", billingCadence="P0D")
        self.tokens = world.usage_price(world.metric(self.product), unit_price="1")
        lines = [
            (self.seats, "seats"), (self.backups, "backups"), (self.setup, "setup"), (self.tokens, "tokens"),
        ]  # fmt: skip
        self.plan = world.plan(self.product, [{"priceId": p, "key": k} for p, k in lines], **plan)  # type: ignore[misc]
        self.clock = world.clock(JANUARY)
        self.customer = world.customer()
        made = world.subscribe(self.customer, self.plan, at=JANUARY, clock=self.clock)
        world.pay(made["payment"]["invoiceId"])
        self.id, self.version = made["id"], made["planVersionId"]
        self.url = f"/v0/subscriptions/{self.id}/intervals"

    def edit(self, expect: int = 200, **ops: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.world.api.post(self.url, ops, expect=expect)
        return found

    def add(
        self, key: str, start: str, unit_price: str | None = None, expect: int = 200, **more: Any
    ) -> dict[str, Any]:
        op = {
            "priceKey": key, "unitPrice": unit_price, "baseQuantity": "1", "billingCadence": "P1M",
            "billingMode": "advance" if key == "seats" else "arrears", "startDate": start, **more,
        }  # fmt: skip
        return self.edit(expect, add=[op])

    def timeline(self, key: str | None = None) -> list[dict[str, Any]]:
        found = self.world.api.get(self.url)["intervals"]
        return [one for one in found if key in (None, one["priceKey"])]

    def spans(self, key: str) -> list[tuple[str, str | None, str | None]]:
        return [(one["startDate"], one["endDate"], one["unitPrice"]) for one in self.timeline(key)]

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)

    def totals(self) -> list[str]:
        return [i["grandTotal"] for i in self.world.invoices(self.id) if i["status"] in {"ISSUED", "PAID"}]

    def bill(self, number: int) -> list[tuple[str, str, str]]:
        """Give name, quantity and amount of the lines of an invoice, without usage of nothing."""
        lines = self.world.lines(self.world.invoices(self.id)[number]["id"])
        for line in lines:
            if "steps" in line["provenance"]:
                assert recompute(line["provenance"]) == Decimal(line["totalPrice"])
        found = [(line["invoiceDisplayName"], str(line["quantity"]), line["totalPrice"]) for line in lines]
        return [row for row in found if row[:2] != ("Tokens", "0")]


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


@pytest.mark.parametrize(
    ("key", "op", "status", "what"),
    [
        ("seats", {"start": "2026-01-15T00:00:00Z"}, 409, "BILLING_PERIOD_EXISTS"),
        ("tokens", {"start": "2026-01-15T00:00:00Z"}, 409, "BILLING_PERIOD_EXISTS"),
        ("seats", {"start": "2025-12-01T00:00:00Z"}, 400, "add.0.startDate"),
        ("seats", {"planVersionId": "pver_x"}, 409, "PLAN_VERSION_CHANGED"),
        ("seats", {"priceId": "price_x"}, 400, "add.0.priceId"),
        ("seats", {"billingCadence": "P1Y"}, 400, "add.0.billingCadence"),
        ("seats", {"billingCadence": "soon"}, 400, "add.0.billingCadence"),
        ("seats", {"billingCadence": "one_off"}, 400, "add.0.billingCadence"),
        ("seats", {"billingMode": "arrears"}, 400, "add.0.billingMode"),
        ("seats", {"billDate": FEBRUARY}, 400, "add.0.billDate"),
        ("seats", {"endDate": FEBRUARY}, 400, "add.0.endDate"),
        ("seats", {"unitPrice": "-1"}, 400, "add.0.unitPrice"),
        ("seats", {"unitPrice": "1e16"}, 400, "add.0.unitPrice"),
        ("seats", {"baseQuantity": "-1"}, 400, "add.0.baseQuantity"),
        ("seats", {"quantityTransitions": [{"effectiveDate": FEBRUARY, "quantity": "2"}]}, 400,
         "add.0.quantityTransitions.0.effectiveDate"),
        ("tokens", {"baseQuantity": "7"}, 400, "add.0.baseQuantity"),
        ("setup", {"billingCadence": "one_off", "billDate": MARCH, "billingMode": "advance"}, 409,
         "INTERVAL_BILLED_ONCE"),
        ("Support", {}, 400, "add.0.priceKey"),
        ("support", {}, 400, "add.0.priceId"),
        ("support", {"priceId": "price_x"}, 400, "add.0.priceId"),
    ],
)  # fmt: skip
def test_what_cannot_be_added_is_refused(deal: Deal, key: str, op: dict[str, Any], status: int, what: str) -> None:
    price = op.pop("unitPrice", "5")
    answer = deal.add(key, op.pop("start", FEBRUARY), price, expect=status, **op)
    assert what in (answer["code"], *(error["field"] for error in answer.get("errors", ())))
    assert not SubscriptionInterval.objects.exists()
    assert not SubscriptionIntervalChange.objects.exists()


def test_what_cannot_be_edited_is_refused(deal: Deal) -> None:
    seats = deal.timeline("seats")[0]["id"]
    for name, value in (
        ("priceId", deal.tokens), ("priceKey", "tokens"), ("planVersionId", "pver_x"), ("billingCadence", "P1Y"),
        ("billingMode", "arrears"), ("billDate", FEBRUARY), ("startDate", FEBRUARY),
    ):  # fmt: skip
        answer = deal.edit(400, edit=[{"id": seats, "unitPrice": "1", name: value}])
        assert [error["field"] for error in answer["errors"]] == [f"edit.0.{name}"]
    assert deal.edit(409, edit=[{"id": seats, "unitPrice": "1"}])["code"] == "BILLING_PERIOD_EXISTS"
    assert deal.edit(409, edit=[{"id": seats, "baseQuantity": "2"}])["code"] == "BILLING_PERIOD_EXISTS"
    assert deal.edit(409, remove=[{"id": seats}])["code"] == "INTERVAL_OF_PLAN"
    assert deal.edit(404, edit=[{"id": "pint_x", "unitPrice": "1"}])["code"] == "NOT_FOUND"
    assert deal.edit(404, remove=[{"id": "pint_x"}])["code"] == "NOT_FOUND"
    for body in ({}, {"add": []}, {"edit": [{"id": seats}], "remove": [{"id": seats}]}):
        assert deal.edit(400, **body)["error"] == "validation_error"
    # All or nothing: the first operation is not kept when the second is refused.
    more = {"priceKey": "tokens", "unitPrice": "1", "baseQuantity": "1", "billingCadence": "P1M",
            "billingMode": "arrears", "startDate": MARCH}  # fmt: skip
    deal.edit(409, add=[more, {**more, "startDate": JANUARY}])
    assert not SubscriptionInterval.objects.exists()


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


def test_an_obligation_changes_at_its_boundaries_alone(world: World) -> None:
    product = world.product()
    fee = world.fee_price(product, "30.00", isObligation=True)
    deal = Deal.__new__(Deal)
    deal.world, deal.clock, deal.customer = world, world.clock(JANUARY), world.customer()
    plan = world.plan(product, [{"priceId": fee, "key": "seats"}])  # type: ignore[list-item]
    made = world.subscribe(deal.customer, plan, at=JANUARY, clock=deal.clock)
    world.pay(made["payment"]["invoiceId"])
    deal.id, deal.url = made["id"], f"/v0/subscriptions/{made['id']}/intervals"
    middle = "2026-02-10T00:00:00Z"
    assert deal.add("seats", middle, "1", expect=409)["code"] == "INTERVAL_INSIDE_OBLIGATION"
    step = [{"effectiveDate": middle, "quantity": "2"}]
    refused = deal.add("seats", FEBRUARY, "1", expect=409, quantityTransitions=step)
    assert refused["code"] == "INTERVAL_INSIDE_OBLIGATION"
    deal.add("seats", FEBRUARY, "25", endDate=MARCH)
    deal.advance("2026-03-02T00:00:00Z")
    assert deal.totals() == ["30.00", "25.00", "30.00"]


def test_a_plan_that_never_prorates_bills_what_holds_at_the_start(world: World) -> None:
    deal = Deal(world, proration="none")
    deal.add("backups", "2026-02-10T00:00:00Z", "100")
    deal.advance("2026-04-02T00:00:00Z")
    assert [deal.bill(number)[0][2] for number in (1, 2, 3)] == ["2.80", "2.80", "100.00"]


def test_before_the_start_everything_can_be_agreed(world: World) -> None:
    deal = Deal(world)
    body = {"name": "x", "planId": deal.plan, "customerId": world.customer(), "startedAt": MARCH}
    made = world.api.post("/v0/subscriptions", {**body, "testClockId": deal.clock})
    deal.id, deal.url = made["id"], f"/v0/subscriptions/{made['id']}/intervals"
    deal.add("seats", MARCH, "21")
    assert deal.add("seats", "2026-02-20T00:00:00Z", "21", expect=400)["errors"][0]["field"] == "add.0.startDate"
    deal.advance("2026-03-02T00:00:00Z")
    assert world.api.get(f"/v0/subscriptions/{made['id']}")["payment"]["amount"] == "41.00"


def test_an_ended_subscription_has_no_timeline_to_change(deal: Deal) -> None:
    deal.world.api.post(f"/v0/subscriptions/{deal.id}/termination", {"reason": "x"}, expect=200)
    assert deal.add("seats", FEBRUARY, "1", expect=409)["code"] == "SUBSCRIPTION_TERMINATED"


def test_changes_are_recorded_and_listed(deal: Deal) -> None:
    op = {"priceKey": "seats", "unitPrice": "24", "baseQuantity": "1", "billingCadence": "P1M",
          "billingMode": "advance", "startDate": FEBRUARY}  # fmt: skip
    made = deal.edit(add=[op], changeReason="commercial", description="Won back", metadata={"deal": "D-7", "n": 1.0})
    change = made["intervalChange"]
    assert (change["changeReason"], change["description"], change["metadata"]) == (
        "commercial", "Won back", {"deal": "D-7", "n": 1},
    )  # fmt: skip
    assert (change["merchantId"], change["subscriptionId"]) == (deal.world.id, deal.id)
    cut, added = change["intervals"]
    assert (cut["before"]["endDate"], cut["after"]["endDate"]) == (None, FEBRUARY)
    assert (added["before"], added["after"]["unitPrice"], added["after"]["resolvedUnitPrice"]) == (None, "24", "24")
    assert cut["after"]["resolvedUnitPrice"] == "30"
    row = SubscriptionIntervalChange.objects.get()
    assert row.made_by == deal.world.owner.public_id
    api, own = deal.world.api, f"/v0/subscriptions/{deal.id}/intervalChanges"
    assert api.get(own)["data"] == [change] == api.get("/v0/intervalChanges")["data"]
    assert api.get("/v0/intervalChanges?changeReason=migration")["data"] == []
    assert api.get("/v0/intervalChanges?from=2100-01-01T00:00:00Z")["data"] == []
    assert api.get("/v0/intervalChanges?to=2100-01-01T00:00:00Z&limit=1")["pagination"]["total"] == 1
    assert api.get("/v0/intervalChanges?changeReason=x", expect=400)["errors"][0]["field"] == "changeReason"
    assert make_world().api.get("/v0/intervalChanges")["data"] == []


def test_the_database_keeps_the_laws_of_a_timeline(deal: Deal) -> None:
    deal.add("seats", FEBRUARY, "24")
    row = SubscriptionInterval.objects.get()
    row.pk, row.public_id = None, ""
    with pytest.raises(IntegrityError, match="interval_no_overlap"), transaction.atomic():
        row.save()
    with pytest.raises(IntegrityError, match="interval_owned_has_a_price"), transaction.atomic():
        SubscriptionInterval.objects.update(kind="owned")
    with pytest.raises(IntegrityError, match="interval_closed_is_for_good"), transaction.atomic():
        SubscriptionInterval.objects.update(kind="closed")
    with pytest.raises(Exception, match="Cannot update"), transaction.atomic():
        SubscriptionIntervalChange.objects.update(description="other")
