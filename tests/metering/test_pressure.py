"""How much a web process lets in, and what it tells of it."""

from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client, override_settings

from apps.kernel.broker import broker
from apps.kernel.errors import RateLimitedError, UnavailableError
from apps.metering.selectors.flow import may_wait, merged_events, taken_events, waiting_events
from apps.metering.services import pressure as module
from apps.metering.services.merge import drain
from apps.metering.services.pressure import Pressure, pressure
from tests.world import World

pytestmark = pytest.mark.django_db

REAL_URL = settings.REDIS_URL


class Clock:
    """Stands still until it is told a new second."""

    now = 1_800_000_000

    def timestamp(self) -> float:
        return float(self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    # Another second for each test, so that the broker's counts of one are not those of another.
    Clock.now += 100
    monkeypatch.setattr(module, "wall_now", lambda: clock)
    return clock


@pytest.fixture(autouse=True)
def _nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "_waiting", 0)


def events(world: World, count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "type": "ai.inference",
            "source": "app",
            "subject": "cus_1",
            "data": {"tokens": 1},
            "idempotencyKey": f"k{n}",
        }
        for n in range(start, start + count)
    ]


@override_settings(INGEST_KEY_RATE=1_000)
def test_a_key_may_send_its_share_of_a_second_and_again_in_the_next(clock: Clock) -> None:
    here = Pressure()
    here.admit(key_id=1, events=600)
    with pytest.raises(RateLimitedError):
        here.admit(key_id=1, events=401)
    here.admit(key_id=1, events=400)
    here.admit(key_id=2, events=1_000)
    clock.now += 1
    here.admit(key_id=1, events=1_000)


@override_settings(INGEST_KEY_RATE=1_000)
def test_the_first_call_of_a_second_is_never_too_large(clock: Clock) -> None:
    Pressure().admit(key_id=1, events=5_000)


@override_settings(INGEST_KEY_RATE=1_000)
def test_processes_share_the_rate_of_a_key(clock: Clock) -> None:
    here, there = Pressure(), Pressure()
    here.admit(key_id=7, events=900)
    here.beat()
    there.admit(key_id=7, events=50)
    there.beat()
    with pytest.raises(RateLimitedError):
        there.admit(key_id=7, events=51)
    there.admit(key_id=7, events=50)


@override_settings(INGEST_KEY_RATE=1_000, REDIS_URL="redis://127.0.0.1:1/0")
def test_without_a_broker_each_process_keeps_the_rate_and_its_counts(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.kernel.broker._client", None)
    here = Pressure()
    here.admit(key_id=1, events=1_000)
    here.count("accepted", 3)
    here.beat()
    with pytest.raises(RateLimitedError):
        here.admit(key_id=1, events=1)
    monkeypatch.setattr("apps.kernel.broker._client", None)
    with override_settings(REDIS_URL=REAL_URL):
        before = taken_events().get("accepted", 0)
        here.beat()
        assert taken_events()["accepted"] == before + 3


@override_settings(INGEST_STAGED_LIMIT=5)
def test_a_full_staging_answers_503_and_takes_nothing(world: World, clock: Clock) -> None:
    world.metric(world.product())
    world.api.post("/v0/events/batch", events(world, 6), expect=202)
    pressure.beat()
    pressure._look()
    answer = world.api.call("post", "/v0/events/batch", events(world, 1, start=6), expect=503)
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["code"] == "UNAVAILABLE"
    world.api.call("post", "/v0/events", events(world, 1, start=6)[0], expect=503)
    assert waiting_events().count == 6
    drain()
    pressure._look()
    world.api.post("/v0/events/batch", events(world, 1, start=6), expect=202)


def test_staging_is_counted_only_when_its_files_could_hold_too_much(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.metric(world.product(), aggregation="COUNT")
    tiny = [{"type": "ai.inference", "source": "s", "subject": "c", "idempotencyKey": str(n), "data": {}}
            for n in range(1_000)]  # fmt: skip
    world.api.post("/v0/events/batch", tiny, expect=202)
    # The smallest of rows still take more than what is reckoned with, so that no count is left out that matters.
    assert may_wait(waiting_events().count)
    assert not may_wait(10**9)
    monkeypatch.setattr(module, "waiting_events", lambda **_: pytest.fail("counted"))
    Pressure()._look()


@override_settings(INGEST_KEY_RATE=1_000)
def test_too_many_events_answer_429_with_a_wait(world: World, clock: Clock) -> None:
    world.metric(world.product())
    world.api.post("/v0/events/batch", events(world, 999), expect=202)
    answer = world.api.call("post", "/v0/events/batch", events(world, 2, start=999), expect=429)
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["code"] == "RATE_LIMITED"
    assert waiting_events().count == 999


def test_staging_that_cannot_be_looked_at_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise OperationalError("gone")

    here = Pressure()
    monkeypatch.setattr(module, "may_wait", lambda _: True)
    monkeypatch.setattr(module, "waiting_events", fail)
    monkeypatch.setattr(module.connection, "close", lambda: None)
    here._waiting = 10**12
    with pytest.raises(UnavailableError):
        here.admit(key_id=1, events=1)
    here._look()
    here.admit(key_id=1, events=1)


def test_figures_tell_what_came_what_waits_and_what_was_merged(world: World) -> None:
    broker().delete("metergate:ingest")
    pressure._counted.clear()
    world.metric(world.product())
    before = merged_events()
    sent = events(world, 5)
    world.api.post("/v0/events/batch", [*sent, sent[0], {"type": "unknown"}], expect=202)
    pressure.beat()
    figures = _figures()
    assert figures["metergate_events_accepted_total"] == 5
    assert figures["metergate_events_repeated_in_batch_total"] == 1
    assert figures["metergate_events_rejected_total"] == 1
    assert figures["metergate_staged_events"] == 5
    assert figures["metergate_merge_lag_seconds"] > 0
    world.api.post("/v0/events/batch", [sent[0], sent[1] | {"data": {"tokens": 2}}], expect=202)
    drain()
    figures = _figures()
    assert figures["metergate_events_merged_total"] - before.inserted == 5
    assert figures["metergate_events_duplicate_total"] - before.repeated == 2
    assert figures["metergate_events_conflict_total"] - before.conflicts == 1
    assert figures["metergate_staged_events"] == figures["metergate_merge_lag_seconds"] == 0
    assert figures["metergate_window_age_seconds"] < 60
    assert figures['metergate_up{part="database"}'] == 1


def _figures() -> dict[str, float]:
    text = Client().get("/metrics").content.decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_figures_are_for_this_machine_or_for_who_knows_the_token() -> None:
    assert Client().get("/metrics").status_code == 200
    assert Client(REMOTE_ADDR="10.1.2.3").get("/metrics").status_code == 401
    assert Client().get("/metrics", headers={"X-Forwarded-For": "10.1.2.3"}).status_code == 401
    with override_settings(METRICS_TOKEN="a secret"):
        assert Client().get("/metrics").status_code == 401
        assert Client().get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
        far = Client(REMOTE_ADDR="10.1.2.3")
        assert far.get("/metrics", headers={"Authorization": "Bearer a secret"}).status_code == 200
