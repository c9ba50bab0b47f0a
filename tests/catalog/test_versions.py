"""Versions of a plan: complete sets, told apart by key, one of them sold."""

import threading
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.catalog.models import Plan, PlanVersion, Price
from apps.catalog.services.plans import PlanLine
from apps.catalog.services.versions import make_default, publish_version
from apps.kernel.errors import ConflictError
from tests.world import World, at, make_world

NOW = at("2026-01-01T00:00:00Z")


def keyed(world: World, product: str, **extra: Any) -> tuple[str, dict[str, str]]:
    """Make a plan of two fees under keys of their own."""
    prices = {"base": world.fee_price(product, "10.00"), "support": world.fee_price(product, "5.00")}
    body = {
        "currency": "USD", "merchantId": world.id, "name": "Pro", "productId": product, "billingCadence": "P1M",
        "prices": [{"priceId": price, "key": key} for key, price in prices.items()], **extra,
    }  # fmt: skip
    return str(world.api.post("/v0/plans", body)["id"]), prices


def mint(world: World, plan: str, lines: list[Any], expect: int = 201, **extra: Any) -> dict[str, Any]:
    found: dict[str, Any] = world.api.post(f"/v0/plans/{plan}/versions", {"prices": lines, **extra}, expect=expect)
    return found


def costs(version: dict[str, Any]) -> dict[str, str]:
    return {slot["key"]: slot["properties"]["unitPrice"] for slot in version["prices"]}


def read(world: World, plan: str, number: int) -> dict[str, Any]:
    found: dict[str, Any] = world.api.get(f"/v0/plans/{plan}/versions/{number}")
    return found


@pytest.mark.django_db
def test_a_version_replaces_adds_and_removes_by_key(world: World) -> None:
    product = world.product()
    plan, _ = keyed(world, product)
    dearer, seats = world.fee_price(product, "12.00"), world.fee_price(product, "3.00")
    made = mint(world, plan, [{"priceId": dearer, "key": "base"}, seats])
    assert (made["versionNumber"], made["isDefault"], made["status"]) == (2, True, "published")
    assert made["basedOnVersionId"] == read(world, plan, 1)["id"]
    keys = [slot["key"] for slot in made["prices"]]
    assert keys[0] == "base"
    assert keys[1] not in {"base", "support"}
    assert list(costs(made).values()) == ["12.00", "3.00"]
    # The first one is what it was, and the plan shows what it sells.
    assert costs(read(world, plan, 1)) == {"base": "10.00", "support": "5.00"}
    assert [row["versionNumber"] for row in world.api.get(f"/v0/plans/{plan}/versions")["data"]] == [2, 1]
    assert world.api.get(f"/v0/plans/{plan}")["defaultVersionId"] == made["id"]


@pytest.mark.django_db
@pytest.mark.parametrize("is_stable", [True, False])
def test_the_id_that_is_sold_stays_or_changes_as_the_plan_says(world: World, is_stable: bool) -> None:
    product = world.product()
    plan, prices = keyed(world, product, stablePriceIds=is_stable)
    dearer = world.fee_price(product, "12.00")
    made = mint(world, plan, [{"priceId": dearer, "key": "base"}, {"priceId": prices["support"], "key": "support"}])
    ids = {slot["key"]: slot["id"] for slot in made["prices"]}
    first = {slot["key"]: slot["id"] for slot in read(world, plan, 1)["prices"]}
    assert ids["support"] == first["support"] == prices["support"]
    expected = (prices["base"], dearer) if is_stable else (dearer, prices["base"])
    assert (ids["base"], first["base"]) == expected
    assert world.api.get(f"/v0/prices/{ids['base']}")["properties"] == {"unitPrice": "12.00"}
    assert world.api.get(f"/v0/prices/{first['base']}")["properties"] == {"unitPrice": "10.00"}


@pytest.mark.django_db
def test_an_id_that_another_plan_sells_as_well_keeps_its_terms(world: World) -> None:
    product = world.product()
    plan, prices = keyed(world, product)
    world.plan(product, [prices["base"]])
    dearer = world.fee_price(product, "12.00")
    made = mint(world, plan, [{"priceId": dearer, "key": "base"}])
    assert made["prices"][0]["id"] == dearer
    assert world.api.get(f"/v0/prices/{prices['base']}")["properties"] == {"unitPrice": "10.00"}


@pytest.mark.django_db
def test_rolling_back_and_forward_sells_the_same_again(world: World) -> None:
    product = world.product()
    plan, prices = keyed(world, product)
    mint(world, plan, [{"priceId": world.fee_price(product, "12.00"), "key": "base"}])
    for number in (1, 1, 2, 1):
        answer = world.api.patch(f"/v0/plans/{plan}/versions/{number}", {"default": True})
        assert (answer["versionNumber"], answer["isDefault"]) == (number, True)
    shown = world.api.get(f"/v0/plans/{plan}")["prices"]
    assert [(price["id"], price["unitAmount"]) for price in shown] == [
        (prices["base"], "10.00"),
        (prices["support"], "5.00"),
    ]
    assert costs(read(world, plan, 2)) == {"base": "12.00"}


@pytest.mark.django_db
def test_what_is_wrong_with_a_version_is_said(world: World) -> None:
    product = world.product()
    plan, prices = keyed(world, product)
    stale = read(world, plan, 1)["id"]
    mint(world, plan, [{"priceId": prices["base"], "key": "base"}], basedOnVersionId=stale)
    answer = mint(world, plan, [prices["base"]], expect=409, basedOnVersionId=stale)
    assert answer["code"] == "PLAN_VERSION_CONFLICT"
    assert answer["details"]["currentVersionId"] == read(world, plan, 2)["id"]
    for lines, field in (
        ([], "prices"),
        (["price_x"], "prices.0"),
        ([prices["base"], prices["base"]], "prices.1"),
        ([{"priceId": prices["base"], "key": "Not a key"}], "prices.0.key"),
    ):
        assert mint(world, plan, lines, expect=400)["errors"][0]["field"] == field
    assert world.api.patch(f"/v0/plans/{plan}/versions/2", {"default": False}, expect=400)["errors"]
    assert world.api.call("get", f"/v0/plans/{plan}/versions/9").status_code == 404
    assert world.api.call("patch", f"/v0/plans/{plan}/versions/9", {"default": True}).status_code == 404
    PlanVersion.objects.filter(number=1).update(status="archived")
    answer = world.api.patch(f"/v0/plans/{plan}/versions/1", {"default": True}, expect=409)
    assert answer["code"] == "PLAN_VERSION_ARCHIVED"
    assert PlanVersion.objects.count() == 2


@pytest.mark.django_db
@given(data=st.data())
@settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
def test_no_version_ever_changes_what_it_costs(data: st.DataObject) -> None:
    """Whatever is minted and made default, in any order: each version costs what it cost when it was made."""
    world = make_world()
    product = world.product()
    public_id, _ = keyed(world, product, stablePriceIds=data.draw(st.booleans()))
    plan = Plan.objects.get(public_id=public_id)
    made = {1: {"base": "10.00", "support": "5.00"}}
    for step in range(data.draw(st.integers(1, 5))):
        if data.draw(st.booleans()):
            keys = data.draw(st.lists(st.sampled_from(["base", "support", "seats"]), unique=True, min_size=1))
            lines = {key: f"{step}{position}.00" for position, key in enumerate(keys, start=1)}
            prices = [PlanLine(world.fee_price(product, amount), key) for key, amount in lines.items()]
            number = publish_version(plan_id=plan.pk, lines=prices, based_on=None, as_of=NOW).number
            made[number] = lines
        else:
            make_default(plan_id=plan.pk, number=data.draw(st.sampled_from(sorted(made))), as_of=NOW)
    assert {number: costs(read(world, public_id, number)) for number in made} == made


@pytest.mark.django_db(transaction=True)
def test_of_versions_made_from_the_same_one_at_once_one_wins() -> None:
    world = make_world()
    product = world.product()
    public_id, _ = keyed(world, product)
    plan = Plan.objects.select_related("default_version").get(public_id=public_id)
    assert plan.default_version is not None
    based_on = plan.default_version.public_id
    prices = [world.fee_price(product, f"{n}.00") for n in range(20, 24)]
    gate, outcome = threading.Barrier(len(prices)), []

    def publish(price: str) -> None:
        gate.wait()
        try:
            publish_version(plan_id=plan.pk, lines=[PlanLine(price, "base")], based_on=based_on, as_of=NOW)
            outcome.append("published")
        except ConflictError:
            outcome.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=publish, args=(price,)) for price in prices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome) == ["published", "refused", "refused", "refused"]
    assert PlanVersion.objects.filter(plan=plan).count() == 2
    assert Price.objects.filter(public_id__in=prices).count() == 4
