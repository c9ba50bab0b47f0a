"""Closing a period: invoices a second by the production lifecycle, beside a bare COPY of the rows that it leaves."""

import argparse
import json
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.stack import settings_of
from config.stack.backends import running_backends

START = datetime(2026, 1, 1, tzinfo=UTC)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subscriptions", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3, help="months closed, one after another")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Subscribe customers, give each usage of two metrics, close month after month and print the rates."""
    with tempfile.TemporaryDirectory(prefix="metergate-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        with running_backends(Path(folder)):
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
            import django

            django.setup()
            return _measure(arguments.subscriptions, arguments.rounds)


def _measure(subscriptions: int, rounds: int) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    from apps.invoicing.services.lifecycle import run_boundaries, run_calculations

    call_command("migrate", interactive=False, verbosity=0)
    merchant, clock, customers = _subscribe(subscriptions)
    connection.ensure_connection()
    settings = settings_of(connection.connection)
    print(f"settings: {json.dumps(settings | {'subscriptions': str(subscriptions)})}")
    figures: list[dict[str, float]] = []
    for month in range(1, rounds + 1):
        end = datetime(2026, month + 1, 1, tzinfo=UTC)
        _use(merchant, customers, end - timedelta(days=10), month)
        with _counted_queries() as queries:
            began = time.perf_counter()
            run_boundaries(clock.pk, end)
            crossed = time.perf_counter() - began
            run_calculations(clock.pk, end + timedelta(hours=1))
            elapsed = time.perf_counter() - began
        invoices, lines, copied = _check_and_copy(month, subscriptions)
        figures.append(
            {
                "invoices_per_second": invoices / elapsed,
                "boundaries_per_second": subscriptions / crossed,
                "calculations_per_second": invoices / (elapsed - crossed),
                "lines_per_second": lines / elapsed,
                "queries_per_invoice": queries[0] / invoices,
                "share_of_bare_copy": copied / elapsed,
            }
        )
        print(
            f"month {month}: " + ", ".join(f"{name} {value:,.2f}" for name, value in figures[-1].items()), flush=True
        )
    medians = {name: statistics.median(figure[name] for figure in figures) for name in figures[0]}
    print("\nmedian: " + ", ".join(f"{name} {value:,.3f}" for name, value in medians.items()))
    return {"settings": settings, "median": medians}


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


def _use(merchant: Any, customers: list[str], at: datetime, month: int) -> None:
    from apps.metering.services.merge import drain
    from apps.metering.services.staging import accept_events

    events = [
        {
            "type": "ai.inference", "source": "bench", "subject": customer, "timestamp": at.isoformat(),
            "idempotencyKey": f"{month}-{customer}",
            "data": {"model": "m", "input": 1_000_000, "output": 500_000},
        }
        for customer in customers
    ]  # fmt: skip
    for start in range(0, len(events), 5_000):
        accept_events(
            events[start : start + 5_000],
            organization_id=merchant.pk,
            organization_public_id=merchant.public_id,
            as_of=at,
            is_import=True,
        )
    drain()


def _check_and_copy(month: int, subscriptions: int) -> tuple[int, int, float]:
    """Check every total, then write the same invoices and lines once more into bare tables by COPY."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(*) FILTER (WHERE grand_total = 54), coalesce(sum(line_count), 0)"
            " FROM invoicing_invoice WHERE sequence_number = %s AND status = 'ISSUED'",
            [month],
        )
        invoices, exact, lines = cursor.fetchone()
        if (invoices, exact) != (subscriptions, subscriptions):
            raise RuntimeError(f"{invoices} invoices, {exact} of them of 54.00; {subscriptions} expected")
        elapsed = 0.0
        for table, where in (
            ("invoicing_invoice", f"sequence_number = {month}"),
            ("invoicing_invoiceline", "invoice_id IN (SELECT id FROM invoicing_invoice"
                                      f" WHERE sequence_number = {month})"),
        ):  # fmt: skip
            with cursor.copy(f"COPY (SELECT * FROM {table} WHERE {where}) TO STDOUT") as copy:
                text = b"".join(bytes(block) for block in copy)
            cursor.execute(f"CREATE TEMPORARY TABLE bare (LIKE {table} INCLUDING ALL)")
            began = time.perf_counter()
            with cursor.copy("COPY bare FROM STDIN") as copy:
                copy.write(text)
            elapsed += time.perf_counter() - began
            cursor.execute("DROP TABLE bare")
    return invoices, int(lines), elapsed


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
