"""What a subscription agreed on its prices, when its plan gets a new version."""

from typing import Any

import pytest

from tests.invoicing.deals import APRIL, FEBRUARY, MARCH, Deal
from tests.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def deal(world: World) -> Deal:
    return Deal(world)


def mint(deal: Deal, **changes: str | None) -> dict[str, Any]:
    """Make a version with other prices by key; None leaves the key out."""
    prices = {"seats": deal.seats, "backups": deal.backups, "setup": deal.setup, "tokens": deal.tokens, **changes}
    lines = [{"priceId": price, "key": key} for key, price in prices.items() if price is not None]
    found: dict[str, Any] = deal.world.api.post(f"/v0/plans/{deal.plan}/versions", {"prices": lines})
    return found


def migrate(deal: Deal, expect: int = 200) -> dict[str, Any]:
    body = {"targetVersionNumber": 2, "timing": "next_period"}
    found: dict[str, Any] = deal.world.api.post(f"/v0/subscriptions/{deal.id}/versionMigration", body, expect=expect)
    return found


def test_an_override_stays_with_its_line(deal: Deal) -> None:
    deal.add("seats", FEBRUARY, "24", endDate=APRIL)
    mint(deal, seats=deal.world.fee_price(deal.product, "40.00"))
    deal.advance("2026-04-02T00:00:00Z")
    # It floats to the new version in February, whose price holds when the override is over.
    assert deal.totals() == ["50.00", "26.80", "26.80", "42.80"]


def test_quantities_stay_with_their_line_when_its_price_has_another_id(deal: Deal) -> None:
    plan = f"/v0/plans/{deal.plan}"
    deal.world.api.patch(plan, {"stablePriceIds": False})
    body = {"items": [{"priceKey": "seats", "quantity": "3"}], "timing": "period_end"}
    deal.world.api.post(f"/v0/subscriptions/{deal.id}/quantityChange", body, expect=200)
    mint(deal, seats=deal.world.fee_price(deal.product, "40.00"))
    deal.advance("2026-03-02T00:00:00Z")
    assert deal.totals() == ["50.00", "122.80", "122.80"]


def test_a_migration_is_refused_where_an_override_would_mean_something_else(deal: Deal) -> None:
    deal.add("tokens", FEBRUARY, "0.5")
    other = deal.world.usage_price(deal.world.metric(deal.product, path="$.images"), unit_price="9")
    mint(deal, tokens=other)
    assert migrate(deal, expect=409)["code"] == "INTERVAL_IN_THE_WAY"
    shown = deal.timeline("tokens")[1]["id"]
    deal.edit(remove=[{"id": shown}])
    assert migrate(deal)["migration"]["changed"] is True


def test_a_migration_is_refused_where_the_version_drops_an_overridden_line(deal: Deal) -> None:
    deal.add("seats", FEBRUARY, "24", endDate=MARCH)
    mint(deal, seats=None)
    answer = migrate(deal, expect=409)
    assert answer["details"]["priceKey"] == "seats"
    deal.edit(remove=[{"id": deal.timeline("seats")[1]["id"]}])
    migrate(deal)


def test_what_only_the_subscription_has_goes_on_and_is_never_billed_twice(deal: Deal) -> None:
    extra = deal.world.fee_price(deal.product, "9.00")
    deal.add("support", FEBRUARY, "7", billingMode="advance", priceId=extra, endDate=APRIL)
    mint(deal, support=extra)
    assert migrate(deal, expect=409)["code"] == "INTERVAL_IN_THE_WAY"
    # It floats all the same: its own price goes before the version's, and gives way to it when it is over.
    deal.advance("2026-04-02T00:00:00Z")
    support = [[row for row in deal.bill(n) if row[2] in {"7.00", "9.00"}] for n in (1, 2, 3)]
    assert support == [
        [("Platform fee", "1", "7.00")], [("Platform fee", "1", "7.00")], [("Platform fee", "1", "9.00")],
    ]  # fmt: skip
    assert [(one["kind"], one["unitPrice"]) for one in deal.timeline("support")] == [
        ("plan_line", None), ("subscription_owned", "7"), ("plan_line", None),
    ]  # fmt: skip
