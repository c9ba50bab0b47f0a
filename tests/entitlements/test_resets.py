"""Usage periods that somebody ends by hand."""

import random
from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import ProgrammingError, connection, transaction

from apps.entitlements.domain.grants import Grant
from apps.entitlements.models import Entitlement, UsageReset
from apps.entitlements.services.resetting import ResetTerms, reset_entitlement
from apps.kernel.errors import InvalidError
from apps.metering.services.merge import drain
from apps.outbox.models import OutboxEvent
from tests.concurrency import at_once
from tests.entitlements.kit import MILLION, START, Kit
from tests.entitlements.oracle import HOUR, reset_moments, walk
from tests.entitlements.pools import PoolKit
from tests.world import World, at

SOFT = {**MILLION, "isSoftLimit": True}


def reset(kit: Kit, right: str, key: str = "r1", *, expect: int = 201, **terms: Any) -> dict[str, Any]:
    found: dict[str, Any] = kit.world.api.post(
        f"/v1/entitlements/{right}/reset", {"idempotencyKey": key, **terms}, expect=expect
    )
    return found


def left(kit: Kit, customer: str, query: str = "") -> tuple[Any, Any, Any]:
    found = kit.right(customer, query)
    return found["balance"], found["usageInPeriod"], found["overage"]


class TestWhatItDoes:
    def test_the_allowance_is_issued_and_usage_counts_anew(self, kit: Kit) -> None:
        customer, _, clock = kit.subscriber([kit.price(kit.feature(), MILLION)])
        kit.use(customer, "2026-01-05T00:00:00Z", 1_200_000)
        kit.world.advance(clock, "2026-01-10T12:00:40Z")
        right = kit.right(customer)
        assert (right["hasAccess"], right["overage"]) == (False, 200_000)
        made = reset(kit, right["entitlementId"], reason="outage of the 4th")
        assert made["effectiveAt"] == "2026-01-10T12:00:00Z"
        assert (made["retainAnchor"], made["preserveOverage"], made["reason"]) == (True, False, "outage of the 4th")
        after = kit.right(customer)
        assert (after["balance"], after["usageInPeriod"], after["overage"]) == (1_000_000, 0, 0)
        assert (after["currentPeriodStart"], after["currentPeriodEnd"]) == (
            "2026-01-10T12:00:00Z", "2026-02-01T00:00:00Z",
        )  # fmt: skip
        # The past is what it was, but for the end of its period.
        before = kit.right(customer, "&at=2026-01-08T00:00:00Z")
        assert (before["balance"], before["overage"]) == (0, 200_000)
        assert (before["currentPeriodStart"], before["currentPeriodEnd"]) == (START, "2026-01-10T12:00:00Z")
        kit.use(customer, "2026-01-10T12:00:20Z", 10)
        assert left(kit, customer) == (999_990, 10, 0)
        announced = OutboxEvent.objects.get(event_type="entitlement.reset.v0")
        assert announced.payload["resetId"] == made["id"]

    def test_the_calendar_goes_on_or_counts_from_it(self, kit: Kit) -> None:
        for moves, ends in ((False, "2026-02-01T00:00:00Z"), (True, "2026-02-10T00:00:00Z")):
            feature = kit.feature("moved" if moves else "kept")
            customer, _, clock = kit.subscriber([kit.price(feature, MILLION)], name=f"Plan {moves}")
            kit.world.advance(clock, "2026-01-10T00:00:00Z")
            reset(kit, kit.right(customer)["entitlementId"], retainAnchor=not moves)
            assert kit.right(customer)["currentPeriodEnd"] == ends
            kit.use(customer, "2026-02-05T00:00:00Z", 100)
            later = left(kit, customer, "&at=2026-02-15T00:00:00Z")
            assert later == ((1_000_000, 0, 0) if moves else (999_900, 100, 0))

    def test_grants_keep_their_rollover_and_overage_is_carried_if_asked(self, kit: Kit) -> None:
        template = {**MILLION, "resetMaxRollover": 300_000}
        customer, _, clock = kit.subscriber([kit.price(kit.feature(), template)])
        right = kit.right(customer)["entitlementId"]
        kit.use(customer, "2026-01-02T00:00:00Z", 400_000)
        kit.world.advance(clock, "2026-01-10T00:00:00Z")
        reset(kit, right, "a")
        assert left(kit, customer) == (1_300_000, 0, 0)
        kit.use(customer, "2026-01-10T01:00:00Z", 1_500_000)
        kit.world.advance(clock, "2026-01-11T00:00:00Z")
        reset(kit, right, "b", preserveOverage=True)
        assert left(kit, customer) == (800_000, 0, 0)

    def test_bills_hold_what_each_of_the_two_periods_left_uncovered(self, kit: Kit) -> None:
        customer, subscription, clock = kit.subscriber([kit.price(kit.feature(), SOFT)])
        kit.use(customer, "2026-01-05T00:00:00Z", 1_200_000)
        kit.world.advance(clock, "2026-01-10T00:00:00Z")
        reset(kit, kit.right(customer)["entitlementId"])
        kit.use(customer, "2026-01-15T00:00:00Z", 1_300_000)
        kit.world.advance(clock, "2026-02-02T00:00:00Z")
        # 200,000 of the first and 300,000 of the second.
        assert kit.world.amounts(kit.world.invoices(subscription)[-2]["id"]) == [Decimal("1.00")]

    def test_overage_that_it_carries_is_paid_in_units_and_not_in_money(self, kit: Kit) -> None:
        customer, subscription, clock = kit.subscriber([kit.price(kit.feature(), SOFT)])
        kit.use(customer, "2026-01-05T00:00:00Z", 1_200_000)
        kit.world.advance(clock, "2026-01-10T00:00:00Z")
        reset(kit, kit.right(customer)["entitlementId"], preserveOverage=True)
        kit.use(customer, "2026-01-15T00:00:00Z", 900_000)
        kit.world.advance(clock, "2026-02-02T00:00:00Z")
        assert kit.world.amounts(kit.world.invoices(subscription)[-2]["id"]) == [Decimal("0.20")]

    def test_overage_that_would_be_paid_in_units_is_forgiven_for_good(self, kit: Kit) -> None:
        template = {**SOFT, "preserveOverageAtReset": True}
        customer, subscription, clock = kit.subscriber([kit.price(kit.feature(), template)])
        kit.use(customer, "2026-01-05T00:00:00Z", 1_200_000)
        kit.world.advance(clock, "2026-01-10T00:00:00Z")
        reset(kit, kit.right(customer)["entitlementId"], preserveOverage=False)
        kit.use(customer, "2026-01-12T00:00:00Z", 1_050_000)
        kit.world.advance(clock, "2026-01-15T00:00:00Z")
        kit.world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "gone"}, expect=200)
        kit.world.advance(clock, "2026-01-17T00:00:00Z")
        # What is left when the right ends is billed; what was forgiven is not.
        assert sum(kit.world.amounts(kit.world.invoices(subscription)[-1]["id"])) == Decimal("0.10")


class TestWhatIsRefused:
    def test_moments_that_do_not_fit(self, kit: Kit) -> None:
        customer, _, clock = kit.subscriber([kit.price(kit.feature(), MILLION)])
        right = kit.right(customer)["entitlementId"]
        kit.world.advance(clock, "2026-01-10T12:00:30Z")
        for moment, says in (
            ("2026-01-10T12:00:31Z", "future"),
            ("2025-12-31T23:00:00Z", "after the minute"),
            ("2026-01-01T00:00:59Z", "after the minute"),
        ):
            refused = reset(kit, right, expect=400, effectiveAt=moment)
            assert says in refused["message"]
            assert refused["errors"][0]["field"] == "effectiveAt"
        reset(kit, right, effectiveAt="2026-01-09T08:30:20Z")
        assert (
            "after the minute" in reset(kit, right, "r2", expect=400, effectiveAt="2026-01-09T08:30:59Z")["message"]
        )
        reset(kit, right, "r2", effectiveAt="2026-01-09T08:31:00Z")
        reset(kit, right, "r3")
        assert "after the minute" in reset(kit, right, "r4", expect=400)["message"]
        assert UsageReset.objects.count() == 3

    def test_time_that_is_billed(self, kit: Kit) -> None:
        yearly = {"usagePeriod": {"interval": "P1Y"}, "issueAfterReset": 100, "isSoftLimit": True}
        customer, _, clock = kit.subscriber([kit.price(kit.feature(), yearly)])
        right = kit.right(customer)["entitlementId"]
        kit.world.advance(clock, "2026-02-10T00:00:00Z")
        refused = reset(kit, right, expect=400, effectiveAt="2026-01-20T00:00:00Z")
        assert (
            refused["message"]
            == "The time before 2026-02-01T00:00:00Z is billed; a reset must lie in the open period."
        )
        reset(kit, right, effectiveAt="2026-02-01T00:00:00Z")

    def test_rights_that_have_nothing_to_reset(self, kit: Kit) -> None:
        sso, once = kit.feature("sso", "boolean"), kit.feature("once")
        fee = kit.world.fee_price(kit.product, "0.00", feature={"featureId": sso})
        customer, subscription, _ = kit.subscriber([kit.price(once, {"issueAfterReset": 5}), fee])
        found = {row["featureKey"]: row["entitlementId"] for row in kit.rights(customer)}
        assert reset(kit, found["sso"], expect=409)["code"] == "ENTITLEMENT_NOT_METERED"
        assert reset(kit, found["once"], expect=409)["code"] == "ENTITLEMENT_NEVER_RESETS"
        kit.world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "gone"}, expect=200)
        assert reset(kit, found["once"], expect=409)["code"] == "ENTITLEMENT_NOT_ACTIVE"

    def test_rights_that_are_used_from_a_pool(self, world: World) -> None:
        kit = PoolKit.make(world)
        feature = kit.kit.feature()
        attached = {"featureId": feature, "entitlementTemplate": MILLION}
        customer, _, _ = kit.subscriber([kit.price("1", feature=attached)])
        right = kit.kit.right(customer)["entitlementId"]
        assert reset(kit.kit, right, expect=409)["code"] == "ENTITLEMENT_IN_CREDITS"

    def test_a_key_makes_one_reset(self, kit: Kit) -> None:
        customer, _, clock = kit.subscriber([kit.price(kit.feature(), MILLION)])
        right = kit.right(customer)["entitlementId"]
        kit.world.advance(clock, "2026-01-10T12:00:00Z")
        made = reset(kit, right)
        kit.world.advance(clock, "2026-01-11T00:00:00Z")
        assert reset(kit, right, expect=200) == made
        assert reset(kit, right, expect=200, effectiveAt="2026-01-10T12:00:20Z") == made
        for other in ({"retainAnchor": False}, {"effectiveAt": "2026-01-10T12:01:00Z"}, {"preserveOverage": True}):
            assert reset(kit, right, expect=409, **other)["code"] == "IDEMPOTENCY_KEY_REUSED"
        listed = kit.world.api.get(f"/v1/entitlements/{right}/resets")
        assert listed["data"] == [made]

    def test_the_database_refuses_what_the_service_would(self, kit: Kit) -> None:
        customer, _, clock = kit.subscriber([kit.price(kit.feature(), MILLION)])
        kit.world.advance(clock, "2026-01-10T00:00:00Z")
        reset(kit, kit.right(customer)["entitlementId"])
        row = UsageReset.objects.get()
        known = {
            "organization_id": row.organization_id, "entitlement_id": row.entitlement_id, "preserves_overage": False,
            "made_at": at("2026-01-20T00:00:00Z"), "idempotency_key": "x",
        }  # fmt: skip
        for moment, law in (
            ("2026-01-09T00:00:00Z", "comes after"),
            ("2026-01-11T00:00:01Z", "whole minute"),
            ("2026-01-01T00:00:00Z", "while it is in force"),
            ("2026-01-21T00:00:00Z", "not_ahead_of_its_making"),
        ):
            with pytest.raises(Exception, match=law), transaction.atomic():
                UsageReset.objects.create(effective_at=at(moment), **known)
        for change in ("UPDATE entitlements_usagereset SET reason = 'x'", "DELETE FROM entitlements_usagereset"):
            with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(change)


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_one_reset_each_key_and_minute(world: World) -> None:
    kit = Kit.make(world)
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), MILLION)])
    kit.world.advance(clock, "2026-01-10T00:00:00Z")
    row = Entitlement.objects.get(customer__public_id=customer)
    now = at("2026-01-10T00:00:00Z")

    def make(key: str) -> tuple[int, bool] | None:
        try:
            made, is_new = reset_entitlement(entitlement_id=row.pk, terms=ResetTerms(key), as_of=now)
        except InvalidError:
            return None
        return made.pk, is_new

    found = at_once([lambda key=key: make(key) for key in "ababab"])  # type: ignore[misc]
    (stored,) = UsageReset.objects.all()
    # Who had the other key came second in that minute, and who repeated the key got what it made.
    assert sorted(found, key=str) == sorted([(stored.pk, True), *[(stored.pk, False)] * 2, *[None] * 3], key=str)


@pytest.mark.parametrize("seed", range(4))
def test_balances_are_those_of_a_walk_unit_by_unit(world: World, seed: int) -> None:
    """Resets by hand among those of the calendar, with an allowance, grants and usage, over the API."""
    chance = random.Random(seed)
    kit = Kit.make(world)
    keeps, is_preserving = chance.choice([0, 5, 40]), chance.random() < 0.5
    template = {
        "usagePeriod": {"interval": "PT90H"}, "issueAfterReset": 60, "isSoftLimit": True, "resetMaxRollover": keeps,
        "preserveOverageAtReset": is_preserving,
    }  # fmt: skip
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), template)])
    right, start, hours = kit.right(customer)["entitlementId"], at(START), 600
    grants = [
        Grant("allowance", Decimal(60), 1, start, start, rollover_max=Decimal(keeps), is_allowance=True),
    ]
    for number in range(3):
        begins, amount = start + HOUR * chance.randrange(hours), chance.randrange(1, 80)
        most = chance.choice([None, 10])
        body = {"amount": amount, "idempotencyKey": f"g{number}", "effectiveAt": text(begins)}
        body |= {} if most is None else {"resetMaxRollover": most}
        made = kit.world.api.post(f"/v1/entitlements/{right}/grants", body)
        limit = None if most is None else Decimal(most)
        grants.append(Grant(made["id"], Decimal(amount), 0, begins, start, rollover_max=limit))
    used: dict[datetime, list[Decimal]] = defaultdict(list)
    for _ in range(40):
        moment, tokens = start + HOUR * chance.randrange(hours), chance.randrange(1, 30)
        used[moment].append(Decimal(tokens))
        kit.world.send(customer, text(moment), tokens=tokens)
    drain()
    by_hand: dict[datetime, tuple[bool, bool]] = {}
    for n in sorted(chance.sample(range(20, hours), 4)):
        moment = start + HOUR * n
        kit.world.advance(clock, text(moment))
        goes_on, carries = chance.random() < 0.5, chance.random() < 0.5
        body = {"idempotencyKey": f"r{n}", "retainAnchor": goes_on, "preserveOverage": carries}
        # One in the minute of a reset of the calendar is refused.
        if kit.world.api.call("post", f"/v1/entitlements/{right}/reset", body).status_code == 201:
            by_hand[moment] = (goes_on, carries)
    assert len(by_hand) >= 2
    until = start + HOUR * hours
    kit.world.advance(clock, text(until))
    resets = reset_moments(
        start=start, until=until, step=90 * HOUR, anchor=start, by_hand=by_hand, is_preserving=is_preserving
    )
    for moment in sorted({start + HOUR * chance.randrange(1, hours) for _ in range(8)} | {*by_hand, until}):
        seen = {when: amounts for when, amounts in used.items() if when < moment}
        wanted = walk(grants, resets, seen, start=start, until=moment, every={})
        found = left(kit, customer, f"&at={text(moment)}")
        assert found == (sum(wanted.balances.values()), wanted.usage, wanted.overage), text(moment)


def text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
