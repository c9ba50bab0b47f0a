"""Simulating terms over a month of many customers, beside the calculation of as many invoices."""

import argparse
import json
import os
import statistics
import tempfile
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.close import START
from bench.stack import settings_of
from config.stack.backends import running_backends


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--customers", type=int, default=1_000)
    parser.add_argument("--events", type=int, default=100, help="of each customer, over the month")
    parser.add_argument("--rounds", type=int, default=3)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Subscribe customers, give each usage, and simulate plain and grouped drafts against the present terms."""
    with tempfile.TemporaryDirectory(prefix="metergate-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        with running_backends(Path(folder)):
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
            import django

            django.setup()
            return _measure(arguments.customers, arguments.events, arguments.rounds)


def _measure(customers: int, events: int, rounds: int) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    from apps.catalog.models import BillableMetric, Plan, Price
    from apps.customers.models import Customer
    from apps.invoicing.selectors.simulating import PRESENT, simulate
    from apps.invoicing.services.offers import draft_offer, version_offer
    from apps.kernel.time import Cadence, Period, add

    call_command("migrate", interactive=False, verbosity=0)
    merchant, _, public_ids = _subscribe(customers)
    _use(merchant, public_ids, events)
    connection.ensure_connection()
    settings = settings_of(connection.connection) | {"customers": str(customers), "events": str(customers * events)}
    print(f"settings: {json.dumps(settings)}")
    plan = Plan.objects.get(name="Scale")
    metric = BillableMetric.objects.get(name="Output tokens")
    groups = [{"match": {"model": f"m{n}"}, "properties": {"unitPrice": "0.000001"}} for n in range(4)]
    by_model = Price(
        organization_id=merchant.pk, metric=metric, model="standard", payment_term="in_arrears",
        properties={"unitPrice": "0.000006", "groups": groups}, invoice_display_name="Output tokens",
    )  # fmt: skip
    pro = Plan.objects.get(name="Pro")
    by_hour = Price(
        organization_id=merchant.pk, metric=metric, model="dynamic", payment_term="in_arrears",
        properties={"minPrice": "0.000001", "maxPrice": "0.00001", "feedId": _feed(merchant).public_id},
        invoice_display_name="Output tokens",
    )  # fmt: skip
    offers = {
        "another plan": version_offer(plan=plan),
        "a draft by model": draft_offer(plan=pro, prices=[by_model]),
        "a draft by a rate an hour": draft_offer(plan=pro, prices=[by_hour]),
    }
    found: dict[str, float] = {}
    for name, offer in offers.items():
        times = []
        for _ in range(rounds):
            with _counted_queries() as queries:
                began = time.perf_counter()
                made = simulate(
                    offer=offer,
                    customers=list(Customer.objects.select_related("organization", "consumer").order_by("pk")),
                    period=Period(START, add(START, Cadence.parse("P1M"))),
                    tz="UTC",
                    comparison=PRESENT,
                    with_one_time=False,
                    as_of=START + timedelta(days=31),
                )
                times.append(time.perf_counter() - began)
        if len(made.bills) != customers or made.counted()["notCompared"]:
            raise RuntimeError(f"{made.counted()} of {customers} customers")
        found[name] = statistics.median(times)
        print(f"{name}: {found[name]:.2f} s, {queries[0]} queries, {made.counted()}, {made.total}", flush=True)
    return {"settings": settings, "median": found}


def _feed(merchant: Any) -> Any:
    """Make a feed with another rate every hour of the month."""
    from apps.catalog.services.feeds import create_feed, set_rates

    feed = create_feed(organization_id=merchant.pk, name="By the hour", currency="USD")
    rates = {START + timedelta(hours=n): Decimal(n % 97 + 1) / 10_000_000 for n in range(31 * 24)}
    set_rates(feed_id=feed.pk, rates=rates, as_of=START)
    return feed


def _use(merchant: Any, customers: list[str], count: int) -> None:
    from apps.metering.services.merge import drain
    from apps.metering.services.staging import accept_events

    events = [
        {
            "type": "ai.inference", "source": "bench", "subject": customer,
            "timestamp": (START + timedelta(minutes=n * (40_000 // count))).isoformat(),
            "idempotencyKey": f"{n}-{customer}",
            "data": {"model": f"m{n % 8}", "input": 1_000, "output": 500},
        }
        for customer in customers
        for n in range(count)
    ]  # fmt: skip
    for start in range(0, len(events), 5_000):
        accept_events(
            events[start : start + 5_000],
            organization_id=merchant.pk,
            organization_public_id=merchant.public_id,
            as_of=START + timedelta(days=31),
            is_import=True,
        )
    drain()


def _subscribe(subscriptions: int) -> tuple[Any, Any, list[str]]:
    from apps.customers.services.customers import create_customer
    from apps.invoicing.management.seed import seed_catalogue
    from apps.invoicing.models import Invoice
    from apps.invoicing.services.settlement import settle_out_of_band
    from apps.invoicing.services.subscribing import subscribe
    from apps.organizations.models import User
    from apps.organizations.services.organizations import create_merchant, find_or_create_consumer
    from apps.subscriptions.services.clocks import create_clock
    from apps.subscriptions.services.subscriptions import SubscriptionOptions

    owner = User.objects.create_user("owner@bench.test", "a long enough password", is_staff=True)
    merchant = create_merchant(name="Bench", email="billing@bench.test", owner=owner)
    catalogue = seed_catalogue(merchant, as_of=START)
    clock = create_clock(organization_id=merchant.pk, current_time=START, name="bench")
    customers = []
    for number in range(subscriptions):
        consumer = find_or_create_consumer(
            merchant=merchant, name=f"Customer {number}", email=f"ap{number}@bench.test", address={"country": "FR"}
        )
        customer, _ = create_customer(merchant=merchant, consumer=consumer, as_of=START)
        subscription, _ = subscribe(
            customer=customer, plan=catalogue.pro, name="Pro", started_at=START, as_of=START,
            options=SubscriptionOptions(test_clock=clock),
        )  # fmt: skip
        zero = Invoice.objects.get(subscription=subscription, sequence_number=0)
        settle_out_of_band(invoice_id=zero.pk, as_of=START, reason="bench")
        customers.append(customer.public_id)
    return merchant, clock, customers


class _counted_queries:  # noqa: N801 - reads as the statement it is
    """Counts the statements of the block."""

    def __enter__(self) -> list[int]:
        from django.db import connection

        self.count = [0]

        def count(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
            self.count[0] += 1
            return execute(sql, params, many, context)

        self.wrapper = connection.execute_wrapper(count)
        self.wrapper.__enter__()
        return self.count

    def __exit__(self, *error: Any) -> None:
        self.wrapper.__exit__(*error)
