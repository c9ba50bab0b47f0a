"""A shared pool against a slow oracle: every event priced by itself, every credit taken by itself."""

import random
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from apps.entitlements.domain.grants import Grant
from apps.metering.services.merge import drain
from tests.entitlements.oracle import HOUR, walk
from tests.entitlements.pools import PoolKit
from tests.world import World, at

START = at("2026-01-01T00:00:00Z")
WEEK = timedelta(days=7)
# Dearer when there is more, so that no event gives anything back.
BANDS = {"tiers": [{"upTo": "40", "unitPrice": "1"}, {"upTo": None, "unitPrice": "2"}]}
BOUNDARIES = [at("2026-02-01T00:00:00Z"), at("2026-03-01T00:00:00Z")]


def banded(total: Decimal) -> Decimal:
    return total if total <= 40 else total * 2


def text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("seed", range(4))
def test_the_pool_is_what_taking_credit_by_credit_leaves(world: World, seed: int) -> None:
    chance = random.Random(seed)
    kit = PoolKit.make(world)
    images = world.metric(kit.kit.product, path="$.images")
    first = kit.price("0.5")
    prices = [first, kit.price("3", kit.output), kit.price(metric=images, model="volume", properties=BANDS)]
    weekly = chance.choice([60, 90])
    customer, _, clock = kit.subscriber(prices, **kit.given(weekly, "P1W"))
    until = BOUNDARIES[-1] + WEEK
    hours = int((until - START) / HOUR)

    grants, every = {}, {}
    plan = Grant("plan", Decimal(weekly), -1, START, START)
    grants["plan"], every["plan"] = plan, (START, WEEK)
    for number in range(3):
        begins = START + HOUR * chance.randrange(hours)
        ends = begins + HOUR * chance.randrange(1, 400) if chance.random() < 0.6 else None
        amount, priority = chance.randrange(1, 120), chance.choice([-2, 0, 1])
        extra = {"effectiveAt": text(begins), "priority": priority} | ({"expiresAt": text(ends)} if ends else {})
        made = kit.grant(customer, amount, f"g{number}", **extra)
        grants[made["id"]] = Grant(made["id"], Decimal(amount), priority, begins, START, ends)

    used: dict[datetime, list[Decimal]] = defaultdict(list)
    total, month = Decimal(0), START
    rate_changes = BOUNDARIES[0]
    moments = sorted(START + HOUR * chance.randrange(hours) for _ in range(30))
    halfway = False
    for moment in moments:
        if moment >= rate_changes and not halfway:
            # Scheduled before the boundary, so that it holds from there on.
            world.advance(clock, text(rate_changes - HOUR))
            world.api.patch(f"/v0/prices/{first}", {"properties": {"unitPrice": "1.25"}})
            world.advance(clock, text(rate_changes + HOUR))
            halfway = True
        tokens, output, pictures = chance.randrange(20), chance.choice([0, 1, 2.5]), chance.randrange(8)
        world.send(customer, text(moment), tokens=tokens, output=output, images=pictures)
        opened = max([START, *(edge for edge in BOUNDARIES if edge <= moment)])
        if opened != month:
            total, month = Decimal(0), opened
        rate = Decimal("0.5") if moment < rate_changes else Decimal("1.25")
        drawn = tokens * rate + Decimal(str(output)) * 3 + banded(total + pictures) - banded(total)
        total += pictures
        used[moment].append(drawn)
    drain()
    world.advance(clock, text(until))
    for moment in sorted({START + HOUR * chance.randrange(1, hours) for _ in range(6)} | {until}):
        # The oracle takes what is used at the last moment; the pool is asked for right before it.
        seen = {when: amounts for when, amounts in used.items() if when < moment}
        wanted = walk(list(grants.values()), {}, seen, start=START, until=moment, every=every)
        found = kit.left(customer, text(moment))
        assert found == (sum(wanted.balances.values()), wanted.overage), text(moment)
        assert kit.pool(customer, text(moment))["usage"] == wanted.usage
