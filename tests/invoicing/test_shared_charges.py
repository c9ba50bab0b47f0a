"""What bills of one group share is worked out once for all of them, and comes to what each comes to alone."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from msgspec import structs

from apps.invoicing.models import Invoice, InvoiceStatus
from apps.invoicing.selectors.invoices import join_neighbours, with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.kernel.time import parse_instant
from apps.subscriptions.models import Subscription
from tests.world import World

pytestmark = pytest.mark.django_db
JANUARY = "2026-01-01T00:00:00Z"
NOW = parse_instant("2026-01-20T00:00:00Z")


@pytest.fixture
def opened(world: World) -> list[Invoice]:
    """Six subscribers of two plans: alike, from another day, in a trial, paused, with a quantity, on its way out."""
    product = world.product()
    metric = world.metric(product)
    prices = [world.fee_price(product, "31.00"), world.usage_price(metric, unit_price="0.5")]
    plan = world.plan(product, prices)
    other = world.plan(product, [world.usage_price(metric, unit_price="0.25")], name="Other")
    clock = world.clock(JANUARY)
    made: list[dict[str, Any]] = []
    for number, (which, start, extra) in enumerate(
        [
            (plan, JANUARY, {}),
            (plan, JANUARY, {}),
            (plan, JANUARY, {"endingAt": "2026-01-25T00:00:00Z"}),
            (plan, JANUARY, {}),
            (other, JANUARY, {}),
            (plan, "2026-01-05T00:00:00Z", {}),
        ]
    ):
        customer = world.customer(name=f"C{number}", email=f"c{number}@a.test")
        if start != JANUARY:
            world.advance(clock, start)
        made.append(world.subscribe(customer, which, at=start, clock=clock, **extra))
        world.send(customer, "2026-01-06T10:00:00Z", tokens=10 * (number + 1))
    for subscription in made:
        if "payment" in subscription:
            world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-01-10T00:00:00Z")
    world.api.post(f"/v0/subscriptions/{made[3]['id']}/pause", expect=200)
    return list(with_neighbours(Invoice.objects.filter(status=InvoiceStatus.ACTIVE)).order_by("pk"))


def plain(lines: dict[int, Any]) -> dict[int, list[dict[str, Any]]]:
    return {key: [structs.asdict(line) for line in rows] for key, rows in lines.items()}


def test_a_group_comes_to_what_each_comes_to_alone(opened: list[Invoice]) -> None:
    assert len(opened) == 6
    together = plain(target_lines(opened, as_of=NOW))
    apart: dict[int, list[dict[str, Any]]] = {}
    for invoice in opened:
        apart |= plain(target_lines([with_neighbours(Invoice.objects.all()).get(pk=invoice.pk)], as_of=NOW))
    assert together == apart
    assert len({str(rows) for rows in together.values()}) == 6
    assert all(rows for rows in together.values())


def test_one_more_alike_costs_no_further_query(opened: list[Invoice]) -> None:
    def asked(invoices: list[Invoice]) -> int:
        rows = list(Invoice.objects.filter(pk__in=[invoice.pk for invoice in invoices]).order_by("pk"))
        with CaptureQueriesContext(connection) as queries:
            join_neighbours(rows)
            target_lines(rows, as_of=NOW)
        return len(queries)

    assert asked(opened[:2]) == asked(opened[:1])


def test_neighbours_are_the_same_however_they_are_read(opened: list[Invoice]) -> None:
    rows = list(Invoice.objects.filter(pk__in=[invoice.pk for invoice in opened]).order_by("pk"))
    join_neighbours(rows)
    with CaptureQueriesContext(connection) as queries:
        for row, known in zip(rows, opened, strict=True):
            assert row.organization == known.organization
            assert row.customer.consumer == known.customer.consumer
            assert row.customer.organization == known.organization
            assert row.subscription.plan == known.subscription.plan
            assert row.subscription.test_clock == known.subscription.test_clock
            assert row.consolidated_into is None
    assert len(queries) == 0
    assert len({id(row.subscription.plan) for row in rows}) == 2, "one object for each row referred to"


def test_pauses_read_along_are_forgotten_with_the_object(opened: list[Invoice]) -> None:
    from apps.subscriptions.selectors.subscriptions import pauses_of, read_pauses

    subscription = Subscription.objects.get(paused_at__isnull=False)
    read_pauses([subscription])
    assert len(pauses_of(subscription).spans) == 1
    with CaptureQueriesContext(connection) as queries:
        pauses_of(subscription)
    assert len(queries) == 0
    Subscription.objects.filter(pk=subscription.pk).update(paused_at=None)
    subscription.refresh_from_db()
    assert pauses_of(subscription).spans == ()
