"""Never more slots than there are, however many processes ask at once, and whichever of them is killed."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from apps.entitlements.models import Slot, SlotEnd
from apps.entitlements.selectors.asking import Asked
from apps.entitlements.services.slots import acquire_slot, keep_slot, release_slot, run_lapses
from apps.kernel.clock import wall_now
from apps.kernel.errors import ConflictError
from tests.concurrency import at_once
from tests.entitlements.kit import Kit
from tests.metering.test_crashes import database_address
from tests.world import make_world

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT, PROCESSES, TURNS = 3, 4, 40
# Acquires and releases by turns; remembers nothing, so that whoever is killed holds on until the lease ends.
WORKER = """
import sys
import django
django.setup()
from datetime import timedelta
from apps.entitlements.selectors.asking import Asked
from apps.entitlements.selectors.asking import Asked
from apps.entitlements.services.slots import acquire_slot, release_slot
from apps.kernel.errors import ConflictError
organization, customer, feature, name, turns = sys.argv[1:]
for n in range(int(turns)):
    try:
        found = acquire_slot(
            organization_id=int(organization), asked=Asked(customer, None, feature), key=f"{name}:{n}",
            lease=timedelta(hours=1),
        )
    except ConflictError:
        continue
    release_slot(slot_id=found.slot.pk)
"""


def worker(kit: Kit, customer: str, feature: str, name: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", WORKER, str(kit.world.merchant.pk), customer, feature, name, str(TURNS)]
    environment = {**os.environ, "DATABASE_URL": database_address(), "DJANGO_SETTINGS_MODULE": "config.settings"}
    return subprocess.Popen(command, cwd=ROOT, env=environment)


def right_to_slots(kit: Kit) -> tuple[str, str]:
    feature = kit.feature("deploys", "static")
    customer = kit.world.customer()
    body = {"customerId": customer, "featureId": feature, "template": {"slots": LIMIT}}
    kit.world.api.post("/v1/entitlements", body)
    return customer, feature


def test_never_more_than_the_limit_over_processes_and_a_kill() -> None:
    kit = Kit.make(make_world())
    customer, feature = right_to_slots(kit)
    workers = [worker(kit, customer, feature, f"p{n}") for n in range(PROCESSES)]
    end = time.monotonic() + 120
    while not Slot.objects.exists() and time.monotonic() < end:
        time.sleep(0.005)
    workers[0].send_signal(signal.SIGKILL)
    codes = [process.wait(timeout=200) for process in workers]
    assert codes == [-signal.SIGKILL, 0, 0, 0]
    rows = list(Slot.objects.values_list("acquired_at", "ended_at", "expires_at"))
    assert len(rows) > TURNS
    changes = sorted(
        [(since, 1) for since, _, _ in rows] + [(ended or expires, -1) for _, ended, expires in rows],
    )
    held = most = 0
    for _, by in changes:
        held += by
        most = max(most, held)
    assert 1 <= most <= LIMIT
    assert held == 0
    # At most the one that was killed still holds one; its lease ends by itself.
    assert Slot.objects.filter(ended_at__isnull=True).count() <= 1


def test_of_many_at_once_as_many_get_a_slot_as_there_are() -> None:
    kit = Kit.make(make_world())
    customer, feature = right_to_slots(kit)

    def take(number: int) -> bool:
        try:
            acquire_slot(
                organization_id=kit.world.merchant.pk, asked=Asked(customer, None, feature), key=f"k{number}",
                lease=timedelta(minutes=5),
            )  # fmt: skip
        except ConflictError:
            return False
        return True

    found = at_once([lambda n=n: take(n) for n in range(10 * LIMIT)])
    assert sum(found) == LIMIT
    # Kept, swept and released at the same moment, each ends once.
    Slot.objects.update(expires_at=wall_now() + timedelta(seconds=1))
    rows = list(Slot.objects.order_by("pk"))
    time.sleep(1.1)

    def keep(pk: int) -> bool:
        try:
            keep_slot(slot_id=pk)
        except ConflictError:
            return False
        return True

    kept = at_once(
        [
            *(lambda pk=row.pk: keep(pk) for row in rows),
            lambda: run_lapses(None, wall_now()),
            *(lambda pk=row.pk: release_slot(slot_id=pk) for row in rows),
        ]
    )[:LIMIT]
    assert kept == [False] * LIMIT
    assert {row.end for row in Slot.objects.all()} == {SlotEnd.EXPIRED}
