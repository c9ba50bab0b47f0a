"""More or fewer of what is paid for: now, with the period, or on a date; prepaid time is settled to the cent."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from apps.invoicing.models import InvoiceLine
from apps.rating.reading import recompute
from apps.subscriptions.models import SubscriptionQuantity
from tests.concurrency import at_once
from tests.world import Api, World, make_world

pytestmark = pytest.mark.django_db

JANUARY, FEBRUARY, MARCH = (f"2026-0{month}-01T00:00:00Z" for month in range(1, 4))


class Team:
    """31.00 a seat in advance, 3.10 a backup in arrears, both by the month, and tokens at 1.00."""

    def __init__(self, world: World, *, fee: dict[str, Any] | None = None, **plan: Any) -> None:
        self.world, product = world, world.product()
        seats = world.fee_price(product, "31.00", **(fee or {}))
        backups = world.fee_price(product, "3.10", paymentTerm="in_arrears")
        setup = world.fee_price(product, "5.00", billingCadence="P0D")
        tokens = world.usage_price(world.metric(product), unit_price="1")
        lines = [(seats, "seats"), (backups, "backups"), (setup, "setup"), (tokens, "tokens")]
        self.seats = seats
        self.plan = world.plan(product, [{"priceId": p, "key": k} for p, k in lines], **plan)  # type: ignore[misc]
        self.clock = world.clock(JANUARY)
        items = [{"priceKey": "seats", "quantity": "2"}]
        made = world.subscribe(world.customer(), self.plan, at=JANUARY, clock=self.clock, items=items)
        world.pay(made["payment"]["invoiceId"])
        self.id, self.url = made["id"], f"/v0/subscriptions/{made['id']}/quantityChange"

    def change(self, quantity: str, key: str = "seats", expect: int = 200, **extra: Any) -> dict[str, Any]:
        body = {"items": [{"priceKey": key, "quantity": quantity}], **extra}
        found: dict[str, Any] = self.world.api.post(self.url, body, expect=expect)
        return found

    def preview(self, quantity: str, key: str = "seats", **extra: Any) -> dict[str, Any]:
        body = {"items": [{"priceKey": key, "quantity": quantity}], **extra}
        found: dict[str, Any] = self.world.api.post(f"{self.url}/preview", body, expect=200)
        return found

    def undo(self, expect: int = 200) -> dict[str, Any]:
        found: dict[str, Any] = self.world.api.delete(self.url, expect=expect)
        return found

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)

    def totals(self) -> list[str]:
        return [invoice["grandTotal"] for invoice in self.world.invoices(self.id)]

    def open_bill(self) -> list[tuple[str, str]]:
        lines = self.world.lines(self.world.invoices(self.id)[-1]["id"])
        return [(line["invoiceDisplayName"], line["totalPrice"]) for line in lines if line["totalPrice"] != "0.00"]


@pytest.fixture
def team(world: World) -> Team:
    return Team(world)


def test_more_seats_now_cost_the_rest_of_the_month(team: Team) -> None:
    team.advance("2026-01-11T00:00:00Z")
    previewed = team.preview("5")
    assert (previewed["effectiveAt"], previewed["before"]["total"], previewed["closing"]["total"]) == (
        # Three seats more for 21 of 31 days, and in February.
        "2026-01-11T00:00:00Z", "65.10", "221.10",
    )  # fmt: skip
    assert [(line["quantity"], line["total"]) for line in previewed["closing"]["lines"][-2:]] == [
        ("5", "155.00"), ("1", "63.00"),
    ]  # fmt: skip
    assert (previewed["credit"], previewed["dueToday"]) == ("0.00", "0.00")
    assert SubscriptionQuantity.objects.count() == 1
    changed = team.change("5")
    assert changed["items"] == [{"priceKey": "seats", "quantity": "5"}]
    assert team.open_bill() == [
        ("Platform fee", "3.10"), ("Platform fee", "155.00"), ("Platform fee (changed quantity)", "63.00"),
    ]  # fmt: skip
    line = InvoiceLine.objects.get(reference__startswith="extended:")
    assert recompute(line.provenance) == Decimal("63.00")
    team.advance("2026-03-02T00:00:00Z")
    assert team.totals() == ["67.00", "221.10", "158.10", "158.10"]


def test_fewer_seats_now_are_credited_and_never_more_than_was_billed(team: Team) -> None:
    team.advance("2026-01-11T00:00:00Z")
    team.change("0")
    assert ("Unused: Platform fee", "-42.00") in team.open_bill()
    # Up again ten days later, in the same month: what is owed is worked out anew.
    team.advance("2026-01-21T00:00:00Z")
    team.change("2")
    assert ("Unused: Platform fee", "-20.00") in team.open_bill()
    team.advance("2026-02-02T00:00:00Z")
    assert team.totals()[:2] == ["67.00", "45.10"]


def test_up_and_down_in_one_moment_leaves_nothing(team: Team) -> None:
    before = team.open_bill()
    team.advance("2026-01-11T07:30:00Z")
    team.change("9")
    team.change("2")
    assert team.open_bill() == before
    assert SubscriptionQuantity.objects.count() == 1


def test_a_fee_in_arrears_is_split(team: Team) -> None:
    team.advance("2026-01-11T00:00:00Z")
    team.change("4", "backups")
    assert team.open_bill() == [("Platform fee", "1.00"), ("Platform fee", "8.40"), ("Platform fee", "62.00")]
    team.advance("2026-02-02T00:00:00Z")
    assert team.totals()[:2] == ["67.00", "71.40"]


def test_with_the_period_and_undone_before_it_comes(team: Team) -> None:
    before = team.open_bill()
    assert team.change("5", timing="period_end")["items"] == [{"priceKey": "seats", "quantity": "2"}]
    assert ("Platform fee", "155.00") in team.open_bill()
    team.undo()
    assert team.open_bill() == before
    assert team.undo(expect=409)["code"] == "NO_QUANTITY_CHANGE"
    team.change("5", timing="period_end")
    # A second change at the same moment takes the first's place.
    team.change("7", timing="period_end")
    team.advance("2026-02-02T00:00:00Z")
    assert team.totals()[:2] == ["67.00", "220.10"]
    assert team.undo(expect=409)["code"] == "NO_QUANTITY_CHANGE"


def test_on_a_date_within_the_prepaid_month(team: Team) -> None:
    team.change("3", effectiveAt="2026-01-22T00:00:00Z")
    assert ("Platform fee (changed quantity)", "10.00") in team.open_bill()
    team.undo()
    assert team.open_bill() == [("Platform fee", "3.10"), ("Platform fee", "62.00")]


def test_in_the_grace_of_the_month_before_the_change_counts_once(team: Team) -> None:
    team.advance("2026-02-01T00:30:00Z")
    # January's bill, which holds February's seats, is not calculated yet.
    team.change("4")
    team.advance("2026-03-02T00:00:00Z")
    share = Decimal(1800) / Decimal(28 * 86400)
    seats = round(62 * share + 124 * (1 - share), 2)
    assert [Decimal(total) for total in team.totals()[:3]] == [67, seats + Decimal("3.10"), Decimal("127.10")]


def test_every_cadence_keeps_its_own_period(world: World) -> None:
    team = Team(world, fee={"billingCadence": "P1Y"})
    team.advance("2026-03-15T00:00:00Z")
    before = [Decimal(total) for total in team.totals()]
    team.change("3")
    # A third seat for 292 of 365 days of the year that was paid on the first day.
    assert team.open_bill()[-1] == ("Platform fee (changed quantity)", "24.80")
    team.advance("2027-01-02T00:00:00Z")
    assert before[0] == 67
    assert sum(Decimal(total) for total in team.totals()[:13]) == 67 + Decimal("24.80") + 93 + 12 * Decimal("3.10")


def test_by_the_day_and_by_the_day_in_a_zone(world: World) -> None:
    team = Team(world, proration="day")
    team.advance("2026-01-11T15:00:00Z")
    team.change("3")
    # The day of the change belongs to what holds at its end.
    assert team.open_bill()[-1] == ("Platform fee (changed quantity)", "21.00")


def test_a_plan_that_never_prorates_changes_with_the_next_period(world: World) -> None:
    team = Team(world, proration="none")
    team.advance("2026-01-11T00:00:00Z")
    team.change("5")
    team.change("5", "backups")
    assert team.open_bill() == [("Platform fee", "3.10"), ("Platform fee", "155.00")]
    team.advance("2026-03-02T00:00:00Z")
    assert team.totals()[:3] == ["67.00", "158.10", "170.50"]


def test_in_a_pause_nothing_is_charged_until_it_ends(team: Team) -> None:
    team.advance("2026-01-11T00:00:00Z")
    team.world.api.post(f"/v0/subscriptions/{team.id}/pause", expect=200)
    team.change("4")
    assert ("Unused: Platform fee", "-42.00") in team.open_bill()
    team.advance("2026-01-21T00:00:00Z")
    team.world.api.post(f"/v0/subscriptions/{team.id}/resume", expect=200)
    # Ten days of two seats and eleven of four, of 62.00 that were paid.
    assert ("Platform fee (changed quantity)", "2.00") in team.open_bill()


def test_discounts_and_bounds_follow_a_change(team: Team) -> None:
    url = f"/v0/subscriptions/{team.id}/adjustments"
    bound = {"type": "maximumQuantity", "maximumQuantity": "3", "targetPriceIds": [team.seats]}
    team.world.api.post(url, {**bound, "effectiveFrom": JANUARY})
    off = {"type": "percentageDiscount", "percentageDiscount": "0.5", "effectiveFrom": FEBRUARY}
    team.world.api.post(url, off)
    team.advance("2026-02-10T00:00:00Z")
    assert team.totals()[1] == "34.10"
    team.change("10")
    # 9 days of 2 and 19 of 10 would be 7.43 seats on average; at most three are billed, and half of it is off.
    found = team.open_bill()
    assert ("Platform fee (changed quantity)", "31.00") in found
    assert [amount for name, amount in found if name.startswith("Discount") and amount == "-15.50"] == ["-15.50"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"items": []}, "items"),
        ({"items": [{"priceKey": "nothing", "quantity": "1"}]}, "items.0.priceKey"),
        ({"items": [{"priceKey": "tokens", "quantity": "1"}]}, "items.0.priceKey"),
        ({"items": [{"priceKey": "setup", "quantity": "2"}]}, "items.0.priceKey"),
        ({"items": [{"priceKey": "seats", "quantity": "1"}] * 2}, "items.1.priceKey"),
        ({"items": [{"priceKey": "seats", "quantity": "-1"}]}, "items.0.quantity"),
        ({"items": [{"priceKey": "seats", "quantity": "1"}], "effectiveAt": "2025-12-01T00:00:00Z"}, "effectiveAt"),
        ({"items": [{"priceKey": "seats", "quantity": "1"}], "timing": "soon"}, "timing"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(team: Team, body: dict[str, Any], field: str) -> None:
    for path in (team.url, f"{team.url}/preview"):
        answer = team.world.api.post(path, body, expect=400)
        assert [error["field"] for error in answer["errors"]] == [field]
    assert SubscriptionQuantity.objects.count() == 1


def test_an_obligation_changes_with_its_period(world: World) -> None:
    team = Team(world, fee={"isObligation": True})
    team.advance("2026-01-11T00:00:00Z")
    assert "2026-02-01T00:00:00Z" in team.change("5", expect=400)["errors"][0]["message"]
    team.change("5", timing="period_end")
    team.advance("2026-02-02T00:00:00Z")
    assert team.totals()[:2] == ["67.00", "158.10"]


def test_a_subscription_that_is_not_active_changes_nothing(team: Team) -> None:
    world = team.world
    waiting = world.subscribe(world.customer(), team.plan, at=JANUARY, clock=team.clock)["id"]
    body = {"items": [{"priceKey": "seats", "quantity": "1"}]}
    answer = world.api.post(f"/v0/subscriptions/{waiting}/quantityChange", body, expect=409)
    assert answer["code"] == "SUBSCRIPTION_NOT_ACTIVE"
    world.api.post(f"/v0/subscriptions/{team.id}/termination", {"reason": "x"}, expect=200)
    assert team.change("5", expect=409)["code"] == "SUBSCRIPTION_NOT_ACTIVE"
    assert team.undo(expect=409)["code"] == "SUBSCRIPTION_NOT_ACTIVE"


def test_a_change_within_an_override_goes_to_what_the_override_agreed(team: Team) -> None:
    op = {"priceKey": "seats", "unitPrice": "20", "baseQuantity": "6", "billingCadence": "P1M",
          "billingMode": "advance", "startDate": FEBRUARY, "endDate": MARCH}  # fmt: skip
    team.world.api.post(f"/v0/subscriptions/{team.id}/intervals", {"add": [op]}, expect=200)
    team.advance("2026-02-15T00:00:00Z")
    assert team.world.api.get(f"/v0/subscriptions/{team.id}")["items"] == [{"priceKey": "seats", "quantity": "6"}]
    team.change("8")
    assert team.open_bill()[-1] == ("Platform fee (changed quantity)", "20.00")
    team.advance("2026-03-02T00:00:00Z")
    # Six at 20 in February, two more for its half; then the plan's price and the two that were chosen.
    assert team.totals()[:3] == ["67.00", "123.10", "85.10"]


@pytest.mark.django_db(transaction=True)
def test_two_changes_at_once_end_as_one_after_the_other() -> None:
    world = make_world()
    team = Team(world)
    team.advance("2026-01-11T00:00:00Z")

    def change(quantity: str) -> int:
        try:
            body = {"items": [{"priceKey": "seats", "quantity": quantity}]}
            return int(Api(world.secret).call("post", team.url, body).status_code)
        finally:
            connection.close()

    answers = at_once([lambda n=n: change(str(n)) for n in (3, 4, 5, 6)])
    assert set(answers) == {200}
    rows = list(SubscriptionQuantity.objects.order_by("effective_at"))
    assert len(rows) == 2
    owed = round(Decimal(31) * (rows[1].quantity - 2) * 21 / 31, 2)
    assert ("Platform fee (changed quantity)", f"{owed:.2f}") in team.open_bill()
