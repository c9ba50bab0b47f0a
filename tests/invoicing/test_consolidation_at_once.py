"""Two workers at the invoices of one customer: one document, once."""

import pytest

from apps.invoicing.models import Invoice, NumberSeries
from apps.invoicing.services.issuing import calculate_or_set_aside
from apps.invoicing.services.lifecycle import run_boundaries, run_calculations
from apps.kernel.time import parse_instant
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import TestClock
from tests.concurrency import at_once
from tests.invoicing.test_consolidation import JANUARY, consolidate, sold
from tests.world import World, make_world

pytestmark = pytest.mark.django_db(transaction=True)

CUSTOMERS, EACH = 4, 5
OVER = parse_instant("2026-02-01T02:00:00Z")


def closing(world: World) -> int:
    """Close January of several customers with several subscriptions each; gives the clock."""
    consolidate(world)
    clock = world.clock(JANUARY)
    for _ in range(CUSTOMERS):
        customer = world.customer()
        for number in range(EACH):
            sold(world, f"{number + 1}.00", JANUARY, customer, clock)
    key = TestClock.objects.get().pk
    run_boundaries(key, OVER)
    return key


def assert_each_once() -> None:
    documents = Invoice.objects.filter(has_members=True)
    assert sorted(row.grand_total for row in documents) == [15] * CUSTOMERS
    assert [row.members.count() for row in documents] == [EACH] * CUSTOMERS
    assert Invoice.objects.filter(status="CONSOLIDATED").count() == CUSTOMERS * EACH
    assert not Invoice.objects.filter(status__in=["CLOSING", "FAILED"]).exists()
    assert NumberSeries.objects.get().last_number == CUSTOMERS
    assert OutboxEvent.objects.filter(event_type="invoice.issued.v0").count() == CUSTOMERS


def test_two_workers_make_each_document_once() -> None:
    world = make_world()
    clock = closing(world)
    moved = at_once([lambda: run_calculations(clock, OVER)] * 3)
    assert sum(moved) == CUSTOMERS * EACH
    assert_each_once()


def test_workers_that_were_given_other_orders_neither_part_nor_block_each_other() -> None:
    world = make_world()
    closing(world)
    ids = list(Invoice.objects.filter(status="CLOSING").order_by("pk").values_list("pk", flat=True))
    moved = at_once(
        [
            lambda: calculate_or_set_aside(invoice_ids=ids, as_of=OVER),
            lambda: calculate_or_set_aside(invoice_ids=ids[::-1], as_of=OVER),
        ]
    )
    assert sorted(moved) == [0, CUSTOMERS * EACH]
    assert_each_once()
