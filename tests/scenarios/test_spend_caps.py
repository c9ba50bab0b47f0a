"""The most that periods bill: caps of plans and prices, and what comes late."""

import pytest

from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.services.early import bill_usage_now
from apps.rating.reading import recompute
from apps.subscriptions.models import Subscription
from tests.scenarios.commitments import Case
from tests.world import World, at

pytestmark = pytest.mark.django_db


def test_a_cap_cuts_what_passes_it_and_late_usage_of_its_period(world: World) -> None:
    case = Case(world, fee={"paymentTerm": "in_arrears"}, spendCap={"amount": "100.00"})
    case.use("2026-01-10T10:00:00Z", 60)
    case.advance("2026-02-02T00:00:00Z")
    assert case.lines(1) == [("Tokens", "60.00"), ("Platform fee", "30.00")]
    # 30 come late, of which January takes 10; February has 140 and is cut by 40, shared out by 110 and 30.
    case.use("2026-01-20T10:00:00Z", 30, key="late")
    case.use("2026-02-10T10:00:00Z", 110)
    case.advance("2026-03-02T00:00:00Z")
    assert case.lines(2) == [
        ("Tokens", "110.00"), ("Spend cap: Tokens", "-31.43"), ("Platform fee", "30.00"),
        ("Spend cap: Platform fee", "-8.57"), ("Tokens (late usage)", "30.00"),
        ("Spend cap: Tokens (late usage)", "-20.00"),
    ]  # fmt: skip
    assert case.billed() == 200
    # More of January is free; what is voided of it was cut, and only then reduces the bill.
    case.use("2026-01-21T10:00:00Z", 7)
    case.advance("2026-04-02T00:00:00Z")
    assert case.lines(3)[2:] == [("Tokens (late usage)", "7.00"), ("Spend cap: Tokens (late usage)", "-7.00")]
    case.void("late")
    case.advance("2026-05-02T00:00:00Z")
    # 30 of 127 are gone: 97 are below the cap, so all 27 that were cut come back, and the invoice gives 3.
    assert case.lines(4) == [
        ("Tokens", "0.00"), ("Platform fee", "30.00"), ("Tokens (correction)", "-30.00"),
        ("Spend cap, given back: Tokens", "27.00"),
    ]  # fmt: skip


def test_a_cap_of_a_price_and_of_a_year(world: World) -> None:
    case = Case(
        world, usage={"spendCap": {"amount": "50.00"}}, fee={"paymentTerm": "in_arrears"},
        spendCap={"amount": "200.00", "cadence": "P1Y"},
    )  # fmt: skip
    for month in range(1, 5):
        case.use(f"2026-{month:02d}-10T10:00:00Z", 70)
    case.advance("2026-05-02T00:00:00Z")
    # 50 of usage and 30 a month; of the third month's 80 only 40 are left of the year's 200.
    assert case.lines(1) == [("Tokens", "70.00"), ("Spend cap: Tokens", "-20.00"), ("Platform fee", "30.00")]
    assert [row["grandTotal"] for row in case.invoices()[:4]] == ["80.00", "80.00", "40.00", "0.00"]
    assert case.lines(3) == [
        ("Tokens", "70.00"), ("Spend cap: Tokens", "-20.00"), ("Spend cap: Tokens", "-25.00"),
        ("Platform fee", "30.00"), ("Spend cap: Platform fee", "-15.00"),
    ]  # fmt: skip


def test_prepaid_fees_come_back_as_the_cap_left_them(world: World) -> None:
    case = Case(world, fee={"amount": "60.00"}, spendCap={"amount": "30.00"})
    assert world.invoices(case.id)[0]["grandTotal"] == "30.00"
    case.advance("2026-01-16T12:00:00Z")
    world.api.post(f"{case.path}/pause", expect=200)
    assert case.lines(1)[-1] == ("Unused: Platform fee", "-15.00")


def test_bills_before_the_end_are_capped_and_trued_up_once(world: World) -> None:
    capped, committed = (
        Case(world, **terms)
        for terms in ({"spendCap": {"amount": "100.00"}}, {"minimumCommitment": {"amount": "200.00"}})
    )
    for case, first, rest in ((capped, 130, 20), (committed, 60, 80)):
        case.use("2026-01-10T10:00:00Z", first)
        case.advance("2026-01-12T00:00:00Z")
        row = Subscription.objects.get(public_id=case.id)
        bill_usage_now(subscription_id=row.pk, as_of=at("2026-01-12T00:00:00Z"))
        case.use("2026-01-20T10:00:00Z", rest)
        case.advance("2026-02-02T00:00:00Z")
    bills = Invoice.objects.filter(sequence_number=1).order_by("subscription_id", "-part")
    assert [[(line.display_name, line.gross) for line in bill.lines.order_by("pk")] for bill in bills] == [
        [("Tokens", 130), ("Spend cap: Tokens", -30)],
        [("Tokens", 20), ("Spend cap: Tokens", -20)],
        [("Tokens", 60)],
        [("Tokens", 80), ("Minimum commitment", 60)],
    ]
    assert all(recompute(line.provenance) == line.gross for line in InvoiceLine.objects.all())
