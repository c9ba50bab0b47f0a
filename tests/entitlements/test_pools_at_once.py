"""A pool is never passed, given twice or made twice, however many ask at once."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from apps.catalog.models import Plan, PricingUnit
from apps.customers.models import Customer
from apps.entitlements.models import CreditPool, Grant, Reservation
from apps.entitlements.services.credits import follow_plans
from apps.entitlements.services.metering import open_pool
from apps.subscriptions.models import Subscription
from tests.entitlements.pools import PoolKit
from tests.entitlements.test_reserving_at_once import ASKER, ROOT
from tests.metering.test_crashes import database_address
from tests.world import Api, at, make_world

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT, PROCESSES, MOMENT = 30, 4, "2026-01-01T00:00:00Z"


@pytest.fixture
def kit() -> PoolKit:
    return PoolKit.make(make_world())


def together(work: Callable[[int], Any], times: int = 8) -> None:
    barrier, failed = threading.Barrier(times), []

    def one(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(n,)) for n in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []


def test_ten_times_the_pool_is_asked_for_by_two_features_and_the_pool_admitted(kit: PoolKit) -> None:
    """Half of the askers use a feature of one credit, half one of two: together they get what is there."""
    features = [kit.kit.feature("chat"), kit.kit.feature("images")]
    kit.price("1", feature={"featureId": features[0]})
    kit.price("2", kit.output, feature={"featureId": features[1]})
    customer = kit.world.customer()
    for feature in features:
        body = {"customerId": customer, "featureId": feature, "template": {}}
        kit.world.api.post("/v1/entitlements", body)
    kit.grant(customer, LIMIT)
    each = str(10 * LIMIT // PROCESSES)
    environment = {**os.environ, "DATABASE_URL": database_address(), "DJANGO_SETTINGS_MODULE": "config.settings"}
    askers = [
        subprocess.Popen(
            [sys.executable, "-c", ASKER, str(kit.world.merchant.pk), customer, features[n % 2], f"p{n}", each],
            cwd=Path(ROOT),
            env=environment,
        )
        for n in range(PROCESSES)
    ]
    assert [process.wait(timeout=200) for process in askers] == [0] * PROCESSES
    held = list(Reservation.objects.values_list("quantity", "asked_quantity"))
    # Not one credit more, and nothing that would have fitted is refused.
    assert sum(quantity for quantity, _ in held) == LIMIT
    assert {asked for _, asked in held} == {1}
    assert kit.pool(customer)["available"] == 0


def test_credits_of_a_plan_are_minted_once_by_many(kit: PoolKit) -> None:
    """The plan comes to give credits that no follower has given yet, and all of them come at once."""
    customer, subscription, _ = kit.subscriber(kit.both())
    plan = kit.world.api.get(f"/v0/subscriptions/{subscription}")["planId"]
    kit.world.api.patch(f"/v0/plans/{plan}", kit.given())
    version = Plan.objects.get(public_id=plan).default_version
    Subscription.objects.filter(public_id=subscription).update(plan_version=version)
    row = Subscription.objects.get(public_id=subscription)

    def follow(number: int) -> None:
        with transaction.atomic():
            follow_plans([(row, at(MOMENT))])

    together(follow)
    assert Grant.objects.count() == 1
    assert kit.left(customer) == (10_000, 0)


def test_a_pool_is_made_once_by_many(kit: PoolKit) -> None:
    customer = Customer.objects.select_related("organization").get(public_id=kit.world.customer())
    unit = PricingUnit.objects.get(public_id=kit.unit)

    def make(number: int) -> None:
        with transaction.atomic():
            open_pool(customer=customer, pricing_unit_id=unit.pk, at=at(MOMENT))

    together(make)
    assert CreditPool.objects.count() == 1


def test_the_same_grant_is_given_once_by_many(kit: PoolKit) -> None:
    customer = kit.world.customer()
    secret = kit.world.secret

    def grant(number: int) -> None:
        body = {"customerId": customer, "amount": 7, "idempotencyKey": "one"}
        Api(secret).post(f"/v1/pricingUnits/{kit.unit}/grants", body)

    together(grant)
    assert kit.left(customer) == (7, 0)


def test_a_pool_that_is_asked_itself_gives_what_is_there_and_no_more(kit: PoolKit) -> None:
    customer = kit.world.customer()
    kit.grant(customer, LIMIT)
    question = {"customerId": customer, "pricingUnitId": kit.unit, "quantity": 7, "reserveSeconds": 60}
    allowed: list[bool] = []

    def reserve(number: int) -> None:
        api = Api(kit.world.secret)
        body = {"questions": [question, {**question, "idempotencyKey": f"k{number}"}]}
        allowed.extend(row["allowed"] for row in api.post("/v1/entitlements/check", body, expect=200)["data"])

    together(reserve)
    assert sorted(allowed) == [False] * 12 + [True] * 4
    assert sum(Reservation.objects.values_list("quantity", flat=True)) == 28
