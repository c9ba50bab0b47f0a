"""Ends that come early, late, twice or in the grace period: what was prepaid stays right to the cent."""

from decimal import Decimal

import pytest

from apps.catalog.models import Plan
from apps.customers.models import Customer
from apps.invoicing.models import InvoiceLine
from apps.rating.reading import recompute
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


@pytest.fixture
def clock(world: World) -> str:
    return world.clock(JANUARY)


def plan_of(world: World, *, credits: bool = False, amount: str = "31.00", **fee: object) -> str:
    product = world.product()
    prices = [world.fee_price(product, amount, **fee), world.usage_price(world.metric(product))]
    plan = world.plan(product, prices)
    Plan.objects.filter(public_id=plan).update(credit_unused_at_end=credits)
    return plan


def started(world: World, clock: str, plan: str, **extra: object) -> str:
    subscription = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock, **extra)
    world.pay(subscription["payment"]["invoiceId"])
    return str(subscription["id"])


def move_end(world: World, subscription: str, to: str) -> None:
    world.api.patch(f"/v0/subscriptions/{subscription}", {"endingAt": to})


def end_now(world: World, subscription: str) -> None:
    world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "x"}, expect=200)


def totals(world: World, subscription: str) -> list[str]:
    return [invoice["grandTotal"] for invoice in world.invoices(subscription)]


def test_a_termination_in_the_grace_period_leaves_the_prepaid_month_whole(world: World, clock: str) -> None:
    # The boundary made February's fee due; only a plan that gives unused time back bills just the half hour.
    kept, given_back = (started(world, clock, plan_of(world, credits=credits)) for credits in (False, True))
    world.advance(clock, "2026-02-01T00:30:00Z")
    for subscription in (kept, given_back):
        end_now(world, subscription)
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert totals(world, kept) == ["31.00", "31.00", "0.00"]
    assert totals(world, given_back) == ["31.00", "0.02", "0.00"]


def test_a_termination_at_the_boundary_itself_bills_no_next_month(world: World, clock: str) -> None:
    subscription = started(world, clock, plan_of(world))
    world.advance(clock, "2026-02-01T00:00:00Z")
    end_now(world, subscription)
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert [(i["status"], i["grandTotal"]) for i in world.invoices(subscription)] == [
        ("PAID", "31.00"), ("PAID", "0.00"), ("CANCELLED", "0.00"),
    ]  # fmt: skip


def test_a_later_end_bills_the_rest_of_the_month_that_was_cut(world: World, clock: str) -> None:
    subscription = started(world, clock, plan_of(world), endingAt="2026-01-11T00:00:00Z")
    move_end(world, subscription, "2026-01-21T00:00:00Z")
    move_end(world, subscription, "2026-03-01T00:00:00Z")
    line = InvoiceLine.objects.get(reference__startswith="extended:")
    assert (line.gross, recompute(line.provenance)) == (Decimal("21.00"), Decimal("21.00"))
    world.advance(clock, "2026-03-02T00:00:00Z")
    # Ten days on Invoice 0; the other 21 and February's fee on January's; nothing is left for February's.
    assert totals(world, subscription) == ["10.00", "52.00", "0.00"]


def test_moving_an_end_there_and_back_changes_nothing(world: World, clock: str) -> None:
    subscription = started(world, clock, plan_of(world), endingAt="2026-01-11T00:00:00Z")
    for end in ("2026-01-21T00:00:00Z", "2026-06-01T00:00:00Z", "2026-01-11T00:00:00Z"):
        move_end(world, subscription, end)
    world.advance(clock, "2026-03-02T00:00:00Z")
    assert totals(world, subscription) == ["10.00", "0.00"]


def test_an_end_that_moved_before_the_payment_is_billed_too(world: World, clock: str) -> None:
    subscription = world.subscribe(
        world.customer(), plan_of(world), at=JANUARY, clock=clock, endingAt="2026-01-11T00:00:00Z"
    )
    move_end(world, subscription["id"], "2026-01-21T00:00:00Z")
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert totals(world, subscription["id"]) == ["10.00", "10.00"]


def test_an_earlier_end_gives_back_where_the_plan_says_so(world: World, clock: str) -> None:
    kept, given_back = (started(world, clock, plan_of(world, credits=credits)) for credits in (False, True))
    for subscription in (kept, given_back):
        move_end(world, subscription, "2026-01-11T00:00:00Z")
    world.advance(clock, "2026-01-06T00:00:00Z")
    # Ended even earlier: the credit is made anew, not added to the one of the fixed end.
    end_now(world, given_back)
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert totals(world, kept) == ["31.00", "0.00"]
    assert totals(world, given_back) == ["31.00", "-26.00"]


def test_an_obligation_is_never_given_back(world: World, clock: str) -> None:
    subscription = started(world, clock, plan_of(world, credits=True, isObligation=True))
    world.advance(clock, "2026-01-11T00:00:00Z")
    end_now(world, subscription)
    assert totals(world, subscription) == ["31.00", "0.00"]


def test_a_fee_charged_once_stands_on_invoice_zero_whatever_its_term(world: World, clock: str) -> None:
    for term in ("in_advance", "in_arrears"):
        plan = plan_of(world, billingCadence="P0D", paymentTerm=term)
        subscription = started(world, clock, plan)
        world.advance(clock, world.api.get(f"/v0/testClocks/{clock}")["currentTime"])
        assert totals(world, subscription)[0] == "31.00"
    world.advance(clock, "2026-03-02T00:00:00Z")
    assert totals(world, subscription) == ["31.00", "0.00", "0.00", "0.00"]


def test_a_refused_call_leaves_nothing_behind(world: World, clock: str) -> None:
    plan = plan_of(world)
    inline = {"name": "Solo", "email": "solo@x.test", "address": {"country": "FR", "zipCode": "69001"}}
    body = {
        "name": "x", "planId": plan, "startedAt": JANUARY, "testClockId": clock, "customer": inline,
        "endingAt": "2025-06-01T00:00:00Z",
    }  # fmt: skip
    assert world.api.post("/v0/subscriptions", body, expect=400)["errors"][0]["field"] == "endingAt"
    assert not Customer.objects.exists()
    subscription = started(world, clock, plan)
    url = f"/v0/subscriptions/{subscription}"
    world.api.patch(url, {"paymentTermDays": 30, "endingAt": "2025-06-01T00:00:00Z"}, expect=400)
    assert world.api.get(url)["paymentTermDays"] == 0


def test_an_amount_no_column_holds_is_refused_by_name(world: World, clock: str) -> None:
    subscription = started(world, clock, plan_of(world))
    body = {"displayName": "x", "currency": "USD", "quantity": "1" + "0" * 15, "unitPrice": "1" + "0" * 15}
    answer = world.api.post("/v2/invoices/lineItems", {**body, "subscriptionId": subscription}, expect=400)
    assert answer["errors"][0]["field"] == "unitPrice"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v2/invoices/projected?subscriptionId={}&from=x", "from"),
        ("/v0/subscriptions?startedBefore=x", "startedBefore"),
    ],
)
def test_a_moment_that_is_none_is_named(world: World, clock: str, path: str, field: str) -> None:
    subscription = started(world, clock, plan_of(world))
    assert world.api.get(path.format(subscription), expect=400)["errors"][0]["field"] == field


def test_what_credit_notes_gave_back_is_not_given_back_again(world: World, clock: str) -> None:
    subscription = started(world, clock, plan_of(world, credits=True))
    zero = world.invoices(subscription)[0]["id"]
    world.api.post(f"/v2/invoices/{zero}/creditNotes", {"amount": "25.00", "reason": "Outage"})
    world.advance(clock, "2026-01-11T00:00:00Z")
    end_now(world, subscription)
    # 21 of 31 days are unused; the customer still bears 6.00 of the month.
    line = InvoiceLine.objects.get(reference__startswith="unused:")
    assert line.gross == Decimal("-6.00")
    assert recompute(line.provenance) == line.gross


def test_a_credit_note_of_what_was_served_leaves_the_unused_part_as_it_is(world: World, clock: str) -> None:
    subscription = started(world, clock, plan_of(world, credits=True))
    zero = world.invoices(subscription)[0]["id"]
    note = world.api.post(f"/v2/invoices/{zero}/creditNotes", {"amount": "10.00", "reason": "Outage"})
    world.advance(clock, "2026-01-11T00:00:00Z")
    # A pause and its end go back and forth over the credited month and bill nothing of it.
    world.api.post(f"/v0/subscriptions/{subscription}/pause", {}, expect=200)
    assert InvoiceLine.objects.get(reference__startswith="unused:").gross == Decimal("-21.00")
    world.api.post(f"/v0/subscriptions/{subscription}/resume", {}, expect=200)
    assert not InvoiceLine.objects.filter(reference__startswith="unused:").exists()
    world.api.post(f"/v2/creditNotes/{note['id']}/void", {}, expect=200)
    end_now(world, subscription)
    assert InvoiceLine.objects.get(reference__startswith="unused:").gross == Decimal("-21.00")
