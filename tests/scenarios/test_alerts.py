"""Alerts of usage: each value fires once a period, whatever happens between."""

from typing import Any

import pytest

from apps.invoicing.models import Alert, AlertFiring
from apps.invoicing.services import alerting, watching
from apps.invoicing.services.watching import look_at_usage
from apps.metering.services.merge import drain
from apps.outbox.models import OutboxEvent
from tests.concurrency import at_once
from tests.world import World, make_world

pytestmark = pytest.mark.django_db


class Case:
    """A subscription from 1 January with tokens at 0.50 and calls at 2.00."""

    def __init__(self, world: World, aggregation: str = "SUM") -> None:
        self.world = world
        product = world.product()
        self.tokens = world.metric(product, aggregation=aggregation)
        self.calls = world.metric(product, path="$.calls")
        plan = world.plan(product, [world.usage_price(self.tokens, "0.50"), world.usage_price(self.calls, "2")])
        self.customer, self.clock = world.customer(), world.clock("2026-01-01T00:00:00Z")
        self.id = world.subscribe(self.customer, plan, at="2026-01-01T00:00:00Z", clock=self.clock)["id"]

    def alert(self, expect: int = 201, **terms: Any) -> dict[str, Any]:
        body = {"name": "Spend", "subscriptionId": self.id, "type": "usage_amount", **terms}
        found: dict[str, Any] = self.world.api.post("/v0/alerts", body, expect=expect)
        return found

    def use(self, moment: str, key: str | None = None, **data: Any) -> None:
        self.world.send(self.customer, moment, key=key, **data)
        drain()
        look_at_usage()

    def fired(self, alert: dict[str, Any]) -> list[tuple[int, str, str]]:
        rows = self.world.api.get(f"/v0/alerts/{alert['id']}/firings?limit=100")["data"]
        return [(row["periodNumber"], row["threshold"], row["value"]) for row in reversed(rows)]


def test_values_fire_once_in_each_period(world: World) -> None:
    case = Case(world)
    alert = case.alert(thresholds=["10", "30"], every="20")
    case.use("2026-01-05T00:00:00Z", tokens=10)
    assert case.fired(alert) == []
    case.use("2026-01-05T00:00:00Z", tokens=10, key="a")
    assert case.fired(alert) == [(1, "10", "10")]
    case.use("2026-01-06T00:00:00Z", calls=40)
    # 90.00: 30, and the recurring 50, 70 and 90.
    assert case.fired(alert)[1:] == [(1, mark, "90") for mark in ("30", "50", "70", "90")]
    # It falls and rises again: nothing fires twice.
    world.api.post("/v0/events/void", {"reason": "test", "idempotencyKeys": ["a"]}, expect=200)
    look_at_usage()
    case.use("2026-01-07T00:00:00Z", tokens=10)
    assert len(case.fired(alert)) == 5
    world.advance(case.clock, "2026-02-05T00:00:00Z")
    # Late usage of January is none of February's.
    case.use("2026-01-31T00:00:00Z", calls=100)
    case.use("2026-02-05T00:00:00Z", calls=5)
    assert case.fired(alert)[5:] == [(2, "10", "10")]
    events = OutboxEvent.objects.filter(event_type="alert.triggered.v0").order_by("pk")
    assert events[0].payload == {
        "alertId": alert["id"], "subscriptionId": case.id, "name": "Spend", "type": "usage_amount",
        "threshold": "10", "value": "10", "periodNumber": 1,
    }  # fmt: skip
    assert len(events) == 6


def test_a_metrics_amount_and_its_quantity(world: World) -> None:
    case = Case(world)
    amount = case.alert(billableMetricId=case.tokens, thresholds=["5"])
    quantity = case.alert(type="usage_quantity", billableMetricId=case.calls, thresholds=["2.5"])
    case.use("2026-01-05T00:00:00Z", calls=2)
    assert (case.fired(amount), case.fired(quantity)) == ([], [])
    case.use("2026-01-05T00:00:00Z", tokens=12, calls=1)
    assert (case.fired(amount), case.fired(quantity)) == ([(1, "5", "6")], [(1, "2.5", "3")])


def test_a_lifetime_counts_all_periods(world: World) -> None:
    case = Case(world)
    amount = case.alert(scope="lifetime", thresholds=["100"])
    quantity = case.alert(scope="lifetime", type="usage_quantity", billableMetricId=case.calls, every="40")
    case.use("2026-01-05T00:00:00Z", calls=30)
    world.advance(case.clock, "2026-02-05T00:00:00Z")
    case.use("2026-02-05T00:00:00Z", calls=25)
    assert case.fired(amount) == [(0, "100", "110")]
    assert case.fired(quantity) == [(0, "40", "55")]
    world.advance(case.clock, "2026-03-05T00:00:00Z")
    case.use("2026-03-05T00:00:00Z", calls=30)
    assert len(case.fired(amount)) == 1
    assert case.fired(quantity)[1:] == [(0, "80", "85")]


def test_a_gauge_is_told_as_it_falls(world: World) -> None:
    case = Case(world, "LATEST")
    alert = case.alert(type="usage_quantity", billableMetricId=case.tokens, thresholds=["20"], every="10",
                       direction="falling")  # fmt: skip
    look_at_usage()
    # It is first seen below its value: that is no fall.
    case.use("2026-01-05T00:00:00Z", tokens=15)
    case.use("2026-01-05T01:00:00Z", tokens=100)
    case.use("2026-01-05T02:00:00Z", tokens=21)
    assert case.fired(alert) == []
    case.use("2026-01-05T03:00:00Z", tokens=0)
    assert case.fired(alert) == [(1, "0", "0"), (1, "10", "0"), (1, "20", "0")]


def test_an_alert_is_changed_listed_and_taken_away(world: World) -> None:
    case = Case(world)
    case.use("2026-01-05T00:00:00Z", calls=10)
    alert = case.alert(thresholds=["15", "100"])
    assert (alert["scope"], alert["direction"], alert["every"]) == ("period", "rising", None)
    look_at_usage()
    assert case.fired(alert) == [(1, "15", "20")]
    path = f"/v0/alerts/{alert['id']}"
    world.api.patch(path, {"thresholds": ["15", "18"], "name": "Less"})
    look_at_usage()
    assert case.fired(alert)[1:] == [(1, "18", "20")]
    world.api.patch(path, {"thresholds": []}, expect=400)
    assert [row["id"] for row in world.api.get(f"/v0/alerts?subscriptionId={case.id}")["data"]] == [alert["id"]]
    assert world.api.get(path)["name"] == "Less"
    world.api.delete(path)
    world.api.get(path, expect=404)
    case.use("2026-01-06T00:00:00Z", calls=100)
    assert AlertFiring.objects.count() == 2


@pytest.mark.parametrize(
    ("terms", "fields"),
    [
        ({}, {"thresholds"}),
        ({"type": "wallet_low_balance", "thresholds": ["1"]}, {"type"}),
        ({"type": "usage_quantity", "thresholds": ["1"]}, {"billableMetricId"}),
        ({"thresholds": ["1"], "direction": "falling"}, {"direction"}),
        ({"thresholds": ["1.001"]}, {"thresholds.0"}),
        ({"thresholds": ["x"], "direction": "falling"}, {"thresholds.0", "direction"}),
        ({"thresholds": ["2", "1"]}, {"thresholds"}),
        ({"every": "0"}, {"every"}),
    ],
)
def test_malformed_alerts_are_named(world: World, terms: dict[str, Any], fields: set[str]) -> None:
    answer = Case(world).alert(expect=400, **terms)
    assert {problem["field"] for problem in answer["errors"]} == fields


def test_alerts_belong_to_living_subscriptions_of_the_merchant(world: World) -> None:
    case, other = Case(world), Case(make_world())
    case.alert(expect=404, billableMetricId=other.tokens, thresholds=["1"])
    case.alert(expect=404, subscriptionId=other.id, thresholds=["1"])
    world.api.post(f"/v0/subscriptions/{case.id}/termination", {"reason": "x"}, expect=200)
    case.alert(expect=409, thresholds=["1"])


def test_steps_beyond_counting_are_told_by_the_last_ones(world: World) -> None:
    case = Case(world)
    alert = case.alert(every="0.01")
    case.use("2026-01-05T00:00:00Z", calls=1_000_000)
    fired = case.fired(alert)
    assert len(fired) == 100
    assert fired[-1] == (1, "2000000", "2000000")
    case.use("2026-01-05T00:00:00Z", tokens=0.04)
    assert case.fired(alert)[-2:] == [(1, "2000000.01", "2000000.02"), (1, "2000000.02", "2000000.02")]


@pytest.mark.django_db(transaction=True)
def test_looks_at_once_fire_once() -> None:
    case = Case(make_world())
    alert = case.alert(thresholds=["1", "2", "3"])
    world = case.world
    world.send(case.customer, "2026-01-05T00:00:00Z", calls=10)
    drain()
    for _ in range(3):
        at_once([look_at_usage] * 4)
    assert [row[1] for row in case.fired(alert)] == ["1", "2", "3"]
    assert OutboxEvent.objects.filter(event_type="alert.triggered.v0").count() == 3


def test_a_look_that_is_killed_fires_later_and_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(world)
    alert = case.alert(thresholds=["1"])

    class Killed(BaseException):
        pass

    def die(*args: Any, **rest: Any) -> None:
        raise Killed

    for module, step in ((alerting, "_announce"), (watching, "_store_looks")):
        world.send(case.customer, "2026-01-05T00:00:00Z", calls=10)
        drain()
        monkeypatch.setattr(module, step, die)
        with pytest.raises(Killed):
            look_at_usage()
        monkeypatch.undo()
        assert case.fired(alert) == []
        assert Alert.objects.get().seen_value is None
    look_at_usage()
    assert case.fired(alert) == [(1, "1", "40")]
