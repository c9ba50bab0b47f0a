"""What the price timeline of a subscription refuses, records and keeps in the database."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.subscriptions.models import SubscriptionInterval, SubscriptionIntervalChange
from tests.invoicing.deals import FEBRUARY, JANUARY, MARCH, Deal
from tests.world import World, make_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def deal(world: World) -> Deal:
    return Deal(world)


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
