"""A POST with an Idempotency-Key does its work once, whatever happens to the first answer."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from apps.catalog.models import Product
from apps.kernel.clock import wall_now
from apps.organizations.models import IdempotencyRecord
from apps.organizations.services import idempotency
from tests.world import World, make_world

KEY = {"Idempotency-Key": "order-1"}


def body(world: World, name: str = "Gateway") -> dict[str, Any]:
    return {"name": name, "description": "", "merchantId": world.id}


@pytest.mark.django_db
def test_a_repeat_gets_the_first_answer(world: World) -> None:
    first = world.api.call("post", "/v0/products", body(world), expect=201, **KEY)
    again = world.api.call("post", "/v0/products", body(world), expect=201, **KEY)
    assert again.content == first.content
    assert again["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    assert Product.objects.count() == 1


@pytest.mark.django_db
def test_another_request_with_the_key_is_refused(world: World) -> None:
    world.api.call("post", "/v0/products", body(world), expect=201, **KEY)
    other = world.api.call("post", "/v0/products", body(world, "Other"), expect=422, **KEY)
    assert other.json()["code"] == "IDEMPOTENCY_KEY_REUSED"
    world.api.call("post", "/v0/fees", body(world), expect=422, **KEY)


@pytest.mark.django_db
def test_keys_of_two_merchants_do_not_meet(world: World) -> None:
    stranger = make_world()
    for owner in (world, stranger):
        owner.api.call("post", "/v0/products", body(owner), expect=201, **KEY)
    assert Product.objects.count() == 2


@pytest.mark.django_db
def test_a_refusal_is_replayed_too_and_leaves_nothing(world: World) -> None:
    for _ in range(2):
        answer = world.api.call("post", "/v0/products", {"merchantId": world.id}, expect=400, **KEY)
        assert {error["field"] for error in answer.json()["errors"]} == {"name", "description"}
    assert Product.objects.count() == 0


@pytest.mark.django_db
def test_who_was_told_to_wait_may_send_the_same_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    product, clock = world.product(), world.clock("2026-01-01T00:00:00Z")
    plan = world.plan(product, [world.usage_price(world.metric(product))])
    subscription = world.subscribe(world.customer(), plan, at="2026-01-01T00:00:00Z", clock=clock)["id"]
    path = f"/v0/subscriptions/{subscription}/reconciliations"
    with monkeypatch.context() as patched:
        patched.setattr("apps.entitlements.api.reconciling.CALLS_PER_SECOND", 0)
        world.api.call("post", path, {"dryRun": True}, expect=429, **KEY)
    answer = world.api.call("post", path, {"dryRun": True}, expect=200, **KEY)
    assert "Idempotency-Replayed" not in answer


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "x" * 256])
def test_malformed_keys_are_named(world: World, key: str) -> None:
    answer = world.api.call("post", "/v0/products", body(world), expect=400, **{"Idempotency-Key": key})
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.django_db
def test_while_the_first_runs_a_repeat_waits_outside(world: World) -> None:
    request = {"method": "POST", "path": "/v0/products", "body": b"x"}
    digest = idempotency.request_hash(**request)  # type: ignore[arg-type]
    now = wall_now()
    claim: dict[str, Any] = {
        "organization_id": world.merchant.pk, "key": "k", "method": "POST", "path": "/", "digest": digest,
    }  # fmt: skip
    mine = idempotency.claim_key(**claim, as_of=now)
    with pytest.raises(Exception, match="still running"):
        idempotency.claim_key(**claim, as_of=now + timedelta(seconds=59))
    # The first one's process died: a minute later the call may be made again.
    next_claim = idempotency.claim_key(**claim, as_of=now + timedelta(seconds=61))
    assert isinstance(mine, int)
    assert isinstance(next_claim, int)
    # If it did not die but was only slow, its work is taken back instead of being done twice.
    answer = idempotency.StoredAnswer(201, b"{}", "application/json")
    with pytest.raises(Exception, match="took too long"):
        idempotency.store_answer(claim=mine, answer=answer)
    idempotency.store_answer(claim=next_claim, answer=answer)
    assert idempotency.claim_key(**claim, as_of=now + timedelta(seconds=62)) == answer


@pytest.mark.django_db
def test_records_go_after_a_day(world: World) -> None:
    world.api.call("post", "/v0/products", body(world), expect=201, **KEY)
    assert idempotency.delete_old_records(as_of=wall_now() + timedelta(hours=23)) == 0
    assert idempotency.delete_old_records(as_of=wall_now() + timedelta(hours=25)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_call_that_fails_midway_leaves_neither_work_nor_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world()

    def die(**_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("apps.organizations.api.middleware.store_answer", die)
        with pytest.raises(KeyboardInterrupt):
            world.api.call("post", "/v0/products", body(world), **KEY)
    assert Product.objects.count() == 0
    assert IdempotencyRecord.objects.count() == 0
    world.api.call("post", "/v0/products", body(world), expect=201, **KEY)


@pytest.mark.django_db(transaction=True)
def test_ten_at_once_do_it_once() -> None:
    world = make_world()
    statuses: list[int] = []

    def call() -> None:
        try:
            answer = world.api.call("post", "/v0/products", body(world), **KEY)
            statuses.append(answer.status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=call) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    assert Product.objects.count() == 1
