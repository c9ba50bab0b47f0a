"""Slots: what runs at once, over the API, in simulated time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.entitlements.models import Entitlement, Slot, SlotBurst, SlotEnd, SlotPool
from apps.entitlements.selectors.slots import limit_of, next_free_at, slot_use
from apps.kernel.ids import new_id
from apps.metering.services.merge import drain
from tests.entitlements.kit import Kit

pytestmark = pytest.mark.django_db


def at(text: str) -> str:
    return f"2026-01-{text}Z"


class Slots:
    """A customer whose plan gives two slots at once, in simulated time."""

    def __init__(self, kit: Kit, slots: int = 2) -> None:
        self.kit, self.api = kit, kit.world.api
        self.feature = kit.feature("deploys", "static")
        self.customer, self.subscription, self.clock = kit.subscriber([self.price(slots)])

    def price(self, slots: int) -> str:
        attached = {"featureId": self.feature, "entitlementTemplate": {"slots": slots}}
        return self.kit.world.fee_price(self.kit.product, "0.00", feature=attached)

    def acquire(self, key: str, expect: int = 201, **more: Any) -> dict[str, Any]:
        body = {"customerId": self.customer, "featureId": self.feature, "idempotencyKey": key, **more}
        found: dict[str, Any] = self.api.post("/v1/slots", body, expect=expect)
        return found

    def beat(self, slot: str, expect: int = 200, **body: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.api.post(f"/v1/slots/{slot}/heartbeat", body, expect=expect)
        return found

    def release(self, slot: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.post(f"/v1/slots/{slot}/release", expect=200)
        return found

    def advance(self, to: str) -> None:
        self.kit.world.advance(self.clock, to)

    def burst(self, expect: int = 201, **body: Any) -> dict[str, Any]:
        right = self.kit.right(self.customer)["entitlementId"]
        found: dict[str, Any] = self.api.post(f"/v1/entitlements/{right}/bursts", body, expect=expect)
        return found

    def use(self, query: str = "") -> dict[str, Any]:
        right = self.kit.right(self.customer)["entitlementId"]
        found: dict[str, Any] = self.api.get(f"/v1/entitlements/{right}/slots{query}")
        return found


@pytest.fixture
def slots(kit: Kit) -> Slots:
    return Slots(kit)


def test_no_more_slots_than_the_plan_gives(slots: Slots) -> None:
    assert slots.kit.right(slots.customer)["config"] == {"slots": 2}
    first = slots.acquire("a", holder="build 7")
    assert (first["status"], first["limit"], first["held"], first["holder"]) == ("held", 2, 1, "build 7")
    assert first["expiresAt"] == at("01T00:01:00")
    # The same key finds the slot it took.
    assert slots.acquire("a", expect=200)["id"] == first["id"]
    slots.acquire("b")
    refused = slots.acquire("c", expect=409)
    assert refused["code"] == "SLOTS_TAKEN"
    assert refused["details"] == {"limit": 2, "held": 2, "nextExpiryAt": at("01T00:01:00")}
    ask = {"customerId": slots.customer, "featureId": slots.feature}
    (answer,) = slots.kit.check(ask)
    assert (answer["allowed"], answer["reason"], answer["available"]) == (False, "limit_reached", 0)
    assert slots.release(first["id"])["status"] == "released"
    assert slots.release(first["id"])["status"] == "released"
    (answer,) = slots.kit.check(ask)
    assert (answer["allowed"], answer["balance"], answer["held"], answer["available"]) == (True, 2, 1, 1)
    assert slots.kit.check({**ask, "quantity": 2})[0]["allowed"] is False
    slots.acquire("c")
    listed = slots.api.get(f"/v1/slots?customerId={slots.customer}&status=held")["data"]
    assert [row["idempotencyKey"] for row in listed] == ["c", "b"]


def test_who_forgets_its_heartbeat_loses_the_slot(slots: Slots) -> None:
    kept, lost = slots.acquire("kept", leaseSeconds=600)["id"], slots.acquire("lost", leaseSeconds=60)["id"]
    slots.advance(at("01T00:05:00"))
    assert slots.beat(kept)["expiresAt"] == at("01T00:15:00")
    # A shorter lease never takes away what was promised.
    assert slots.beat(kept, leaseSeconds=10)["expiresAt"] == at("01T00:15:00")
    assert slots.beat(kept, leaseSeconds=3600)["expiresAt"] == at("01T01:05:00")
    assert slots.beat(lost, expect=409)["code"] == "SLOT_ENDED"
    ended = slots.api.get(f"/v1/slots/{lost}")
    assert (ended["status"], ended["endedAt"]) == ("expired", at("01T00:01:00"))
    slots.acquire("next")
    # The schedule has ended it, not only the look at it.
    assert Slot.objects.get(public_id=lost).end == SlotEnd.EXPIRED


def test_a_key_whose_slot_is_over_does_not_look_like_one_that_is_held(slots: Slots) -> None:
    lost, released = slots.acquire("lost")["id"], slots.acquire("released")["id"]
    slots.release(released)
    refused = slots.acquire("released", expect=409)
    assert (refused["code"], refused["details"]) == (
        "SLOT_ENDED", {"slotId": released, "endedAt": at("01T00:00:00")},
    )  # fmt: skip
    assert "new key" in refused["message"]
    assert slots.acquire("lost", expect=200)["id"] == lost
    # The lease is over, and nothing has swept up yet.
    clock = SlotPool.objects.get().test_clock
    assert clock is not None
    clock.current_time = clock.target_time = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    clock.save()
    refused = slots.acquire("lost", expect=409)
    assert (refused["code"], refused["details"]["endedAt"]) == ("SLOT_ENDED", at("01T00:01:00"))
    slots.advance(at("01T00:02:00"))
    assert slots.acquire("lost", expect=409)["code"] == "SLOT_ENDED"
    assert slots.acquire("new")["held"] == 1


def test_what_is_full_says_when_one_becomes_free(slots: Slots) -> None:
    def next_free() -> str | None:
        found: str | None = slots.acquire("refused", expect=409)["details"]["nextExpiryAt"]
        return found

    slots.burst(slots=3, endsAt=at("01T01:00:00"), idempotencyKey="x")
    for minutes in (120, 90, 100, 110, 200):
        slots.acquire(str(minutes), leaseSeconds=minutes * 60)
    # The burst ends before any lease does, so that 5 are held of 2.
    assert next_free() == at("01T02:00:00")
    slots.advance(at("01T01:00:00"))
    assert next_free() == at("01T02:00:00")
    more = {"slots": 2, "startsAt": at("01T01:45:00"), "endsAt": at("01T01:55:00"), "idempotencyKey": "y"}
    burst = slots.burst(**more)["id"]
    # By then three are left, of two and the two of the burst.
    assert next_free() == at("01T01:45:00")
    right = slots.kit.right(slots.customer)["entitlementId"]
    slots.api.delete(f"/v1/entitlements/{right}/bursts/{burst}", expect=200)
    assert next_free() == at("01T02:00:00")
    Entitlement.objects.update(active_to=datetime(2026, 1, 1, 1, 50, tzinfo=UTC))
    assert next_free() is None


def test_a_burst_raises_the_limit_for_its_time(slots: Slots) -> None:
    slots.acquire("a", leaseSeconds=86_400)
    slots.acquire("b", leaseSeconds=86_400)
    body = {"slots": 1, "startsAt": at("01T01:00:00"), "endsAt": at("01T03:00:00"), "idempotencyKey": "launch"}
    burst = slots.burst(**body, reason="Launch day")
    assert slots.burst(expect=200, **body)["id"] == burst["id"]
    slots.burst(expect=409, **{**body, "slots": 2})
    slots.burst(expect=400, **{**body, "idempotencyKey": "x", "endsAt": at("01T01:00:00")})
    slots.acquire("c", expect=409)
    slots.advance(at("01T01:00:00"))
    # What is held goes on: the end of the span is no end of it.
    assert slots.use()["steps"] == [{"at": at("01T00:00:00"), "held": 2}]
    third = slots.acquire("c", leaseSeconds=3600)["id"]
    slots.acquire("d", expect=409)
    slots.advance(at("01T01:30:00"))
    assert slots.beat(third)["expiresAt"] == at("01T02:30:00")
    slots.advance(at("01T02:29:00"))
    assert slots.beat(third)["expiresAt"] == at("01T03:29:00")
    # The burst is over: the two that were first stay, the third ends with its lease.
    slots.advance(at("01T03:00:00"))
    assert slots.beat(third, expect=409)["code"] == "SLOTS_OVER_LIMIT"
    assert slots.use()["limit"] == 2
    slots.advance(at("01T03:29:00"))
    assert slots.use()["held"] == 2


def test_a_burst_can_be_taken_back(slots: Slots) -> None:
    burst = slots.burst(slots=5, endsAt=at("31T00:00:00"), idempotencyKey="x")
    assert burst["startsAt"] == at("01T00:00:00")
    assert slots.use()["limit"] == 7
    slots.advance(at("02T00:00:00"))
    assert slots.burst(expect=200, slots=5, endsAt=at("31T00:00:00"), idempotencyKey="x")["id"] == burst["id"]
    right = slots.kit.right(slots.customer)["entitlementId"]
    path = f"/v1/entitlements/{right}/bursts"
    assert slots.api.delete(f"{path}/{burst['id']}", expect=200)["voidedAt"] == at("02T00:00:00")
    assert slots.use()["limit"] == 2
    assert slots.api.get(path)["data"][0]["voidedAt"] == at("02T00:00:00")


def test_slots_go_on_when_the_plan_changes(slots: Slots) -> None:
    held = slots.acquire("a", leaseSeconds=864_000)["id"]
    slots.acquire("b", leaseSeconds=864_000)
    slots.acquire("c", expect=409)
    larger = slots.kit.world.plan(slots.kit.product, [slots.price(3)])
    slots.advance(at("02T00:00:00"))
    slots.api.post(
        f"/v0/subscriptions/{slots.subscription}/planChange", {"planId": larger, "timing": "now"}, expect=200
    )
    assert (slots.use()["limit"], slots.use()["held"]) == (3, 2)
    slots.acquire("c")
    (live,) = slots.api.get(f"/v0/subscriptions?customerId={slots.customer}&status=active")["data"]
    slots.api.post(f"/v0/subscriptions/{live['id']}/termination", {"reason": "gone"}, expect=200)
    # Without a right nothing is kept or acquired; what runs ends with its lease.
    assert slots.beat(held, expect=409)["code"] == "SLOTS_OVER_LIMIT"
    assert slots.acquire("d", expect=409)["code"] == "NOT_ENTITLED"


def test_use_is_metered_as_it_changes_and_can_be_billed(kit: Kit) -> None:
    world = kit.world
    metered = {"eventType": "slots.deploys", "groupBy": {}}
    average = world.metric(kit.product, aggregation="WEIGHTED_SUM", valueProperty="$.change", **metered)
    peak = world.metric(kit.product, aggregation="MAX", valueProperty="$.held", **metered)
    slots = Slots(kit)
    first = slots.acquire("a", leaseSeconds=864_000)["id"]
    slots.acquire("b", leaseSeconds=86_400)
    slots.advance(at("01T12:00:00"))
    slots.release(first)
    slots.advance(at("03T00:00:00"))
    drain()
    span = f"from={at('01T00:00:00')}&to={at('03T00:00:00')}"
    found = {
        name: world.api.get(f"/v0/billableMetrics/{metric}/meter?{span}&subject={slots.customer}")["totalValue"]
        for name, metric in (("average", average), ("peak", peak))
    }
    # Half a day of the first and a whole one of the second, forgotten since, in two days.
    assert found == {"average": 0.75, "peak": 2}
    use = slots.use(f"?{span}")
    assert (use["peak"], use["average"]) == (2, "0.75")
    assert [(step["at"], step["held"]) for step in use["steps"]] == [
        (at("01T00:00:00"), 2), (at("01T12:00:00"), 1), (at("02T00:00:00"), 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"idempotencyKey": ""}, "idempotencyKey"),
        ({"leaseSeconds": 1}, "leaseSeconds"),
        ({"leaseSeconds": "x"}, "leaseSeconds"),
        ({"featureId": None}, "featureId"),
        ({"holder": "x" * 256}, "holder"),
    ],
)
def test_rubbish_is_refused_by_name(slots: Slots, body: dict[str, Any], field: str) -> None:
    sent = {"customerId": slots.customer, "featureId": slots.feature, "idempotencyKey": "k", **body}
    refused = slots.api.post("/v1/slots", sent, expect=400)
    assert field in {error["field"] for error in refused["errors"]}


def test_only_features_with_slots_have_them(kit: Kit) -> None:
    feature = kit.feature("sso", "boolean")
    customer = kit.world.customer()
    kit.world.api.post("/v1/entitlements", {"customerId": customer, "featureId": feature, "template": {}})
    body = {"customerId": customer, "featureId": feature, "idempotencyKey": "k"}
    assert "no slots" in kit.world.api.post("/v1/slots", body, expect=400)["message"]
    static = kit.feature("deploys", "static")
    issue = {"customerId": customer, "featureId": static, "template": {"slots": "many"}}
    refused = kit.world.api.post("/v1/entitlements", issue, expect=400)
    assert refused["errors"][0]["field"] == "template.slots"


def test_finance_sees_slots_and_acts(slots: Slots) -> None:
    slots.acquire("a", holder="build 7", leaseSeconds=864_000)
    slots.advance(at("02T00:00:00"))
    browser = Client()
    browser.force_login(slots.kit.world.owner)
    pool = SlotPool.objects.get()
    page = browser.get(reverse("admin:entitlements_slotpool_change", args=[pool.pk])).content.decode()
    assert "1 of 2 held" in page
    assert "<svg" in page
    right = Entitlement.objects.get()
    page = browser.get(reverse("admin:entitlements_entitlement_change", args=[right.pk])).content.decode()
    assert "1 of 2 slots are free" in page
    grant = reverse("admin:entitlements_entitlement_grant_slots", args=[right.pk])
    form = {"slots": 3, "until_0": "2026-02-01", "until_1": "00:00:00", "reason": "Launch", "_form_submitted": "1"}
    assert browser.post(grant, form).status_code in (200, 302)
    assert SlotBurst.objects.get().slots == 3
    held = Slot.objects.get()
    browser.post(reverse("admin:entitlements_slot_release", args=[held.pk]), {"_form_submitted": "1"})
    held.refresh_from_db()
    assert held.end == SlotEnd.FORCED
    burst = SlotBurst.objects.get()
    browser.post(reverse("admin:entitlements_slotburst_void", args=[burst.pk]), {"_form_submitted": "1"})
    burst.refresh_from_db()
    assert burst.voided_at is not None


BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
MINUTES = st.integers(0, 300)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(MINUTES, st.integers(1, 90), st.booleans()), max_size=12), MINUTES, st.integers(1, 200))
def test_peak_and_average_are_those_of_every_minute(
    slots: Slots, spans: list[tuple[int, int, bool]], first: int, length: int
) -> None:
    feature = Entitlement.objects.get().feature
    feature.pk, feature.public_id, feature.key = None, "", f"f{SlotPool.objects.count()}"
    feature.save()
    pool = SlotPool.objects.create(
        organization=slots.kit.world.merchant, customer=Entitlement.objects.get().customer, feature=feature
    )
    present = 250
    for number, (since, span, is_ended) in enumerate(spans):
        until = BEGIN + timedelta(minutes=since + span)
        Slot.objects.create(
            organization=pool.organization, pool=pool, acquired_at=BEGIN + timedelta(minutes=since),
            lease_seconds=60, expires_at=until, ended_at=until if is_ended else None,
            end=SlotEnd.RELEASED if is_ended else "", idempotency_key=str(number),
        )  # fmt: skip
    use = slot_use(
        pool=pool,
        start=BEGIN + timedelta(minutes=first),
        end=BEGIN + timedelta(minutes=first + length),
        at=BEGIN + timedelta(minutes=present),
    )
    counts = [
        sum(
            since <= minute < (since + span if is_ended else min(since + span, present))
            for since, span, is_ended in spans
        )
        for minute in range(first, first + length)
    ]
    assert use.peak == max(counts)
    assert use.average == round(Decimal(sum(counts)) / Decimal(length), 6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    leases=st.lists(st.integers(1, 60), max_size=10),
    bursts=st.lists(
        st.tuples(st.integers(-30, 60), st.integers(1, 60), st.integers(1, 4), st.booleans()), max_size=4
    ),
)
def test_the_next_free_slot_is_that_of_every_minute(
    slots: Slots, leases: list[int], bursts: list[tuple[int, int, int, bool]]
) -> None:
    right = Entitlement.objects.get()
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    SlotBurst.objects.update(voided_at=now - timedelta(days=30))
    Slot.objects.filter(ended_at=None).update(ended_at=F("acquired_at"), end=SlotEnd.RELEASED)
    pool, _ = SlotPool.objects.get_or_create(
        organization=right.organization, customer=right.customer, feature=right.feature
    )
    for span in leases:
        Slot.objects.create(
            organization=pool.organization, pool=pool, acquired_at=now - timedelta(minutes=1), lease_seconds=60,
            expires_at=now + timedelta(minutes=span), idempotency_key=new_id("key"),
        )  # fmt: skip
    for since, span, more, is_voided in bursts:
        starts_at = now + timedelta(minutes=since)
        SlotBurst.objects.create(
            organization=pool.organization, pool=pool, slots=more, starts_at=starts_at,
            ends_at=starts_at + timedelta(minutes=span), voided_at=now if is_voided else None,
            idempotency_key=new_id("key"),
        )  # fmt: skip

    def is_free(minute: int) -> bool:
        at = now + timedelta(minutes=minute)
        held = sum(span > minute for span in leases)
        return held < limit_of(customer_id=pool.customer_id, feature_id=pool.feature_id, at=at)

    if is_free(0):
        # Nobody asks then.
        return
    expected = next(minute for minute in range(1, 200) if is_free(minute))
    assert next_free_at(pool, at=now) == now + timedelta(minutes=expected)
