"""One invoice of thousands of lines: calculating and issuing it by the production code, reading it, and its PDF."""

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from config.stack.backends import running_backends

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
# Of every hundred lines so many are usage at a price of its own; the others are fees and lines put on by hand.
OF_USAGE, OF_FEES = 30, 30
# Metrics that read the same events.
OF_EVENT = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--profile", action="store_true", help="print where each step spends its time")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Bill one customer a month of very many prices with two taxes, and print how long each step takes."""
    with tempfile.TemporaryDirectory(prefix="metergate-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        with running_backends(Path(folder)):
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
            import django

            django.setup()
            return _measure(arguments)


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    from apps.documents.selectors.papers import paper_of
    from apps.documents.services.parties import get_sides
    from apps.documents.services.rendering import render_pdf
    from apps.invoicing.models import Invoice, InvoiceLine
    from apps.invoicing.selectors.invoices import live_lines, with_neighbours
    from apps.invoicing.services.issuing import calculate_invoices
    from config.celery import look_less_for_cycles

    call_command("migrate", interactive=False, verbosity=0)
    subscription = _subscribe(arguments.lines)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    [invoice] = with_neighbours(Invoice.objects.filter(subscription=subscription, status="CLOSING"))
    figures: dict[str, Any] = {}
    began = time.perf_counter()
    live = live_lines([invoice])[invoice.pk]
    figures["live lines, s"] = round(time.perf_counter() - began, 2)
    moment = END + timedelta(hours=1)
    # As the processes do that calculate.
    look_less_for_cycles()
    began = time.process_time()
    seconds, _ = _timed(lambda: calculate_invoices(invoice_ids=[invoice.pk], as_of=moment), arguments.profile)
    figures["calculating and issuing, s"] = seconds
    figures["of it the worker's processor, s"] = round(time.process_time() - began, 2)
    invoice = with_neighbours(Invoice.objects.all()).get(pk=invoice.pk)
    stored = InvoiceLine.objects.filter(invoice=invoice)
    if len(live) != stored.count() or invoice.grand_total != sum((line.total for line in live), Decimal(0)):
        raise RuntimeError("the issued invoice is not what was shown of it")
    figures["lines"] = len(live)
    seconds, paper = _timed(lambda: paper_of(invoice, get_sides(invoice)), arguments.profile)
    figures["reading what its document says, s"] = seconds
    seconds, made = _timed(lambda: render_pdf(paper, invoice.organization_id), arguments.profile)
    figures["setting the PDF with its calculations, s"] = seconds
    figures["PDF, bytes"] = len(made)
    for name, value in figures.items():
        print(f"{name:44} {value:>12,}")
    return figures


def _timed(work: Callable[[], Any], with_profile: bool) -> tuple[float, Any]:
    """Give the seconds that some work takes, and what it gives."""
    profile = cProfile.Profile()
    began = time.perf_counter()
    found = profile.runcall(work) if with_profile else work()
    seconds = round(time.perf_counter() - began, 2)
    if with_profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
    return seconds, found


def _subscribe(lines: int) -> Any:
    """Make a customer whose period is over, with its usage and the lines put on by hand."""
    from django.db import connection

    from apps.catalog.services.plans import PlanLine, create_plan
    from apps.catalog.services.prices import create_price
    from apps.catalog.services.products import create_fee, create_metric, create_product
    from apps.customers.services.customers import create_customer
    from apps.invoicing.models import Invoice
    from apps.invoicing.services.lifecycle import run_boundaries
    from apps.invoicing.services.manual import ManualLine, add_manual_line
    from apps.invoicing.services.subscribing import subscribe
    from apps.metering.services.merge import drain
    from apps.metering.services.staging import accept_events
    from apps.organizations.models import Organization, User
    from apps.organizations.services.organizations import create_merchant, find_or_create_consumer
    from apps.subscriptions.services.clocks import create_clock
    from apps.subscriptions.services.subscriptions import SubscriptionOptions
    from apps.taxes.services.rates import create_rate
    from apps.taxes.services.registrations import create_registration

    owner = User.objects.create_user("owner@bench.test", "a long enough password", is_staff=True)
    merchant = create_merchant(name="Bench", email="billing@bench.test", owner=owner)
    facts = {"country": "CA", "state": "QC", "city": "Montréal", "zip_code": "H2X 1Y4", "line1": "1 rue"}
    Organization.objects.filter(pk=merchant.pk).update(**facts)
    merchant.refresh_from_db()
    for region, name, percent, tax_id in (
        ("", "GST", "5", "123026635RT0001"),
        ("QC", "QST", "9.975", "1234567890TQ0001"),
    ):
        create_registration(organization_id=merchant.pk, country="CA", region=region, tax_id=tax_id)
        create_rate(organization_id=merchant.pk, country="CA", region=region, name=name, percent=Decimal(percent))
    product = create_product(organization_id=merchant.pk, name="Bench", description="", metadata={})
    metrics = [
        create_metric(
            product=product, name=f"Metric {number}", description="", unit="units", aggregation="SUM",
            event_type=f"bench.{number // OF_EVENT}", value_property=f"$.m{number}",
        )
        for number in range(lines * OF_USAGE // 100)
    ]  # fmt: skip
    fee = create_fee(product=product, name="Fee", description="")
    usage, fees = lines * OF_USAGE // 100, lines * OF_FEES // 100
    tiers = [{"upTo": "500", "unitPrice": "0.006"}, {"upTo": None, "unitPrice": "0.004"}]
    models = (("standard", {"unitPrice": "0.0021"}), ("graduated", {"tiers": tiers}))
    prices = [
        create_price(
            organization_id=merchant.pk, metric=metrics[number], fee=None, payment_term="in_arrears",
            invoice_display_name=f"Usage {number}", model=models[number % 2][0], properties=models[number % 2][1],
        )
        for number in range(usage)
    ] + [
        create_price(
            organization_id=merchant.pk, metric=None, fee=fee, payment_term="in_arrears", billing_cadence="P1M",
            invoice_display_name=f"Fee {number}", model="standard", properties={"unitPrice": f"{number % 90}.37"},
        )
        for number in range(fees)
    ]  # fmt: skip
    plan = create_plan(
        product=product, name="Bench", lines=[PlanLine(price.public_id) for price in prices], as_of=START,
        currency="CAD", billing_cadence="P1M",
    )  # fmt: skip
    clock = create_clock(organization_id=merchant.pk, current_time=START, name="bench")
    consumer = find_or_create_consumer(merchant=merchant, name="Customer", email="ap@bench.test", address=facts)
    customer, _ = create_customer(merchant=merchant, consumer=consumer, as_of=START)
    subscription, _ = subscribe(
        customer=customer, plan=plan, name="Long", started_at=START, as_of=START,
        options=SubscriptionOptions(test_clock=clock),
    )  # fmt: skip
    opened = Invoice.objects.get(subscription=subscription, status="ACTIVE")
    for number in range(lines - usage - fees):
        line = ManualLine(f"Visit {number}", "CAD", Decimal("1.5"), Decimal(number) / 8)
        add_manual_line(invoice_id=opened.pk, line=line, as_of=START)
    events = [
        {
            "type": f"bench.{first // OF_EVENT}", "source": "bench", "subject": customer.public_id,
            "timestamp": (START + timedelta(days=day)).isoformat(), "idempotencyKey": f"{first}-{day}",
            "data": {f"m{number}": 7 * number + day for number in range(first, first + OF_EVENT)},
        }
        for first in range(0, len(metrics), OF_EVENT)
        for day in range(20)
    ]  # fmt: skip
    accept_events(
        events, organization_id=merchant.pk, organization_public_id=merchant.public_id, as_of=END, is_import=True
    )
    drain()
    with connection.cursor() as cursor:
        # As when it came over the month, and not in the minutes before the close.
        cursor.execute("UPDATE metering_window SET changed_at = changed_at - interval '1 hour'")
    run_boundaries(clock.pk, END)
    return subscription
