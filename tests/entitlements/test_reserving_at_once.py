"""A hard limit holds however many processes ask at once, and whichever of them is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.entitlements.models import Reservation
from tests.entitlements.kit import Kit
from tests.metering.test_crashes import database_address
from tests.world import make_world

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT, PROCESSES = 30, 4
ASKER = """
import sys
import django
django.setup()
from datetime import timedelta
from decimal import Decimal
from apps.entitlements.selectors.asking import Asked
from apps.entitlements.services.checking import Question, check
organization, customer, feature, name, times = sys.argv[1:]
asked = Asked(customer, None, feature)
for n in range(int(times)):
    question = Question(asked, Decimal(1), timedelta(hours=1), f"{name}:{n}")
    check(organization_id=int(organization), questions=[question])
"""


def asker(kit: Kit, customer: str, feature: str, name: str, times: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", ASKER, str(kit.world.merchant.pk), customer, feature, name, str(times)]
    environment = {**os.environ, "DATABASE_URL": database_address(), "DJANGO_SETTINGS_MODULE": "config.settings"}
    return subprocess.Popen(command, cwd=ROOT, env=environment)


def test_ten_times_the_limit_is_asked_for_and_the_limit_admitted() -> None:
    kit = Kit.make(make_world())
    feature = kit.feature()
    customer = kit.world.customer()
    right = {"customerId": customer, "featureId": feature, "template": {"issueAfterReset": LIMIT}}
    kit.world.api.post("/v1/entitlements", right)
    each = 10 * LIMIT // PROCESSES
    askers = [asker(kit, customer, feature, f"p{n}", each) for n in range(PROCESSES)]
    end = time.monotonic() + 120
    while not Reservation.objects.exists() and time.monotonic() < end:
        time.sleep(0.005)
    askers[0].send_signal(signal.SIGKILL)
    codes = [process.wait(timeout=200) for process in askers]
    assert codes == [-signal.SIGKILL, 0, 0, 0]
    # The one that was killed asks again with the same keys: what it was given is found, nothing is given twice.
    assert asker(kit, customer, feature, "p0", each).wait(timeout=200) == 0
    assert Reservation.objects.count() == LIMIT
    assert len(set(Reservation.objects.values_list("idempotency_key", flat=True))) == LIMIT
