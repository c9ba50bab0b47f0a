"""Billing runs worked on by several processes, and killed: nothing is billed twice, and nothing is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.invoicing.models import BillingRun, BillingRunItem, Invoice, InvoiceLine
from apps.invoicing.services import lifecycle
from apps.invoicing.services.billing_runs import plan_run, run_billing_runs, start_run
from apps.kernel.errors import ConflictError
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription
from tests.concurrency import at_once
from tests.metering.test_crashes import database_address
from tests.world import World, at, make_world

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parent.parent.parent
JANUARY, NOW = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
CUSTOMERS = 40

WORKER = """
import os
import django
django.setup()
from apps.invoicing.models import BillingRun
from apps.invoicing.services import billing_runs, issuing
from apps.kernel.time import parse_instant
billing_runs.GROUP = 5
{patch}
while BillingRun.objects.filter(status="running").exists():
    billing_runs.run_billing_runs(None, parse_instant("{now}"))
"""

# What a worker is doing when it dies, in its third group.
DEATHS = {
    "before the commit of a group": """
inner, seen = issuing.issue_group, []
def die(**asked):
    inner(**asked)
    seen.append(1)
    if len(seen) == 3:
        os._exit(9)
issuing.issue_group = die
""",
    "between the invoices and their results": """
inner, seen = billing_runs.calculate_or_set_aside, []
def die(**asked):
    moved = inner(**asked)
    seen.append(1)
    if len(seen) == 3:
        os._exit(9)
    return moved
billing_runs.calculate_or_set_aside = die
""",
}


def worker(patch: str = "") -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "DATABASE_URL": database_address(), "DJANGO_SETTINGS_MODULE": "config.settings"}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER.format(patch=patch, now=NOW)],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
    )


def closed(customers: int = CUSTOMERS) -> tuple[World, BillingRun]:
    """Give a started run of customers whose January is over, at 10.00 each."""
    world = make_world()
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "10.00", paymentTerm="in_arrears")])
    clock = world.clock(JANUARY)
    for _ in range(customers):
        world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)
    Subscription.objects.update(test_clock=None)
    lifecycle.run_boundaries(None, at(NOW))
    run = plan_run(organization=world.merchant, as_of=at(NOW))
    return world, start_run(run_id=run.pk, as_of=at(NOW))


def assert_billed_once(run: BillingRun, customers: int = CUSTOMERS) -> None:
    run.refresh_from_db()
    assert run.status == "completed"
    billed = Invoice.objects.filter(sequence_number=1)
    numbers = sorted(
        str(number) for number in Invoice.objects.filter(number__isnull=False).values_list("number", flat=True)
    )
    assert numbers == [f"INV-2026-{n:06d}" for n in range(1, len(numbers) + 1)]
    assert billed.filter(status="ISSUED", grand_total=10).count() == customers
    assert InvoiceLine.objects.filter(invoice__in=billed).count() == customers
    assert BillingRunItem.objects.filter(run=run, status="issued", amount=10).count() == customers
    assert BillingRunItem.objects.filter(run=run).count() == customers
    assert OutboxEvent.objects.filter(event_type="billing_run.completed.v0").count() == 1
    issued = OutboxEvent.objects.filter(event_type="invoice.issued.v0")
    assert issued.count() == len(set(issued.values_list("object_id", flat=True))) == len(numbers)


@pytest.mark.parametrize("moment", DEATHS)
def test_a_worker_that_dies_in_a_run_doubles_and_loses_nothing(moment: str) -> None:
    _, run = closed()
    assert worker(DEATHS[moment]).wait(timeout=60) == 9
    done = Invoice.objects.filter(sequence_number=1, status="ISSUED").count()
    assert 0 < done < CUSTOMERS
    assert worker().wait(timeout=60) == 0
    assert_billed_once(run)


def test_two_workers_killed_at_random_moments_finish_a_run() -> None:
    _, run = closed(120)
    source = random.Random(5)
    for _ in range(3):
        running = [worker(), worker()]
        time.sleep(source.uniform(1.5, 4.0))
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)
    assert [process.wait(timeout=120) for process in (worker(), worker())] == [0, 0]
    assert_billed_once(run, 120)


def test_threads_that_work_on_one_run_and_the_ordinary_job_bill_once() -> None:
    _, run = closed(12)
    works = [lambda: run_billing_runs(None, at(NOW))] * 3 + [lambda: lifecycle.run_calculations(None, at(NOW))]
    at_once(works)
    run_billing_runs(None, at(NOW))
    assert_billed_once(run, 12)


def test_runs_planned_at_once_never_share_an_invoice() -> None:
    world, _ = closed(1)
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "10.00", paymentTerm="in_arrears")])
    clock = world.clock(JANUARY)
    for _ in range(6):
        world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)
    Subscription.objects.update(test_clock=None)
    lifecycle.run_boundaries(None, at(NOW))

    def planned() -> int:
        try:
            return plan_run(organization=world.merchant, as_of=at(NOW)).item_count
        except ConflictError:
            return 0

    assert sorted(at_once([planned] * 4)) == [0, 0, 0, 6]
    assert BillingRunItem.objects.filter(status="waiting").count() == 7
