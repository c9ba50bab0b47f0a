"""Document numbers under many issuers: no gap and no repeat by merchant and year, whoever is killed."""

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from apps.invoicing.models import Invoice, InvoiceStatus, NumberSeries
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription
from tests.metering.test_crashes import database_address
from tests.world import World, at, make_world

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parent.parent.parent
ISSUERS, DRAFTS = 20, 40

# Issuers are forked from one process that has Django at hand, so that twenty begin at once. Each takes drafts in an
# order of its own; some are killed while they write.
LAUNCHER = """
import os, random, signal, sys, time
import django
django.setup()
from django.db import connections
from apps.invoicing.models import Invoice
from apps.invoicing.services.issuing import approve_invoice
from apps.kernel.time import parse_instant

issuers, doomed = int(sys.argv[1]), int(sys.argv[2])
ids = list(Invoice.objects.filter(status="DRAFT").order_by("pk").values_list("pk", flat=True))
connections.close_all()

def issue(number):
    order = ids[:]
    random.Random(number).shuffle(order)
    for pk in order:
        year = 2026 + pk % 2
        approve_invoice(invoice_id=pk, as_of=parse_instant(f"{{year}}-03-01T00:00:00Z"))

children = []
for number in range(issuers):
    child = os.fork()
    if child == 0:
        try:
            issue(number)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
source = random.Random(3)
for child in children[:doomed]:
    time.sleep(source.uniform(0.02, 0.15))
    os.kill(child, signal.SIGKILL)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(sum(code == -9 for code in codes), sum(code > 0 for code in codes))
"""


def issue(issuers: int, doomed: int) -> tuple[int, int]:
    """Let processes issue all drafts; gives how many were killed, and how many failed."""
    environment = {**os.environ, "DATABASE_URL": database_address(), "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER.format(), str(issuers), str(doomed)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    killed, failed = done.stdout.split()[-2:]
    assert failed == "0", done.stderr[-3000:]
    return int(killed), int(failed)


def drafts(world: World, currency: str) -> Sequence[Invoice]:
    """Make calculated invoices that wait for approval."""
    product = world.product()
    plan = world.plan(product, [world.fee_price(product)], currency=currency)
    made = world.subscribe(
        world.customer(), plan, at="2026-01-01T00:00:00Z", clock=world.clock("2026-01-01T00:00:00Z")
    )
    subscription = Subscription.objects.get(public_id=made["id"])
    start, end = at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z")
    rows = []
    for number in range(DRAFTS):
        row = Invoice(
            organization=world.merchant,
            customer_id=subscription.customer_id,
            subscription=subscription,
            sequence_number=100 + number,
            status=InvoiceStatus.DRAFT,
            currency=currency,
            period_start=start,
            period_end=end,
            due_after=start,
            due_until=end,
            grace_period_end=end,
            calculated_at=end,
            subtotal=10,
            grand_total=10,
        )
        row.save()
        rows.append(row)
    return rows


def test_numbers_have_no_gap_and_no_repeat_under_twenty_issuers_and_kills() -> None:
    worlds = [make_world(), make_world()]
    wanted = {row.pk for world in worlds for currency in ("USD", "JPY") for row in drafts(world, currency)}
    before = set(Invoice.objects.filter(number__isnull=False).values_list("pk", flat=True))
    killed, _ = issue(ISSUERS, 12)
    assert killed > 0
    assert issue(4, 0) == (0, 0)
    issued = Invoice.objects.filter(number__isnull=False)
    assert set(issued.values_list("pk", flat=True)) - before == wanted
    series: dict[tuple[int, str], list[int]] = defaultdict(list)
    for organization_id, number in issued.values_list("organization_id", "number"):
        assert number is not None
        head, _, tail = number.rpartition("-")
        series[organization_id, head].append(int(tail))
    # Two merchants, two years, whatever the currency.
    assert len(series) == 4
    for (organization_id, head), numbers in series.items():
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        row = NumberSeries.objects.get(organization_id=organization_id, kind="invoice", year=int(head[-4:]))
        assert row.last_number == len(numbers)
    told = OutboxEvent.objects.filter(event_type="invoice.issued.v0").values_list("object_id", flat=True)
    assert len(told) == len(set(told)) == issued.count()
