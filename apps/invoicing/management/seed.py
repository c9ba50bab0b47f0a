"""The demo merchant: a catalogue, customers, months of usage and the invoices they led to."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import pi, sin
from pathlib import Path
from typing import Any

from apps.catalog.models import BillableMetric, Fee, Plan, Price, Product
from apps.catalog.services.plans import PlanLine, create_plan
from apps.catalog.services.prices import create_price
from apps.catalog.services.products import create_fee, create_metric, create_product
from apps.customers.models import Customer
from apps.customers.services.customers import create_customer
from apps.invoicing.models import Invoice
from apps.invoicing.services.crediting import CreditRequest, issue_credit_note
from apps.invoicing.services.settlement import settle_out_of_band
from apps.invoicing.services.subscribing import subscribe
from apps.kernel.time import Cadence, add, floor_hour, parse_instant
from apps.metering.services.importing import RowMapping, import_file
from apps.metering.services.merge import drain
from apps.metering.services.staging import accept_events
from apps.organizations.models import Organization
from apps.organizations.services.organizations import find_or_create_consumer
from apps.subscriptions.models import Subscription, TestClock
from apps.subscriptions.services.clocks import create_clock, request_advance, run_advance
from apps.subscriptions.services.subscriptions import SubscriptionOptions

SEED = 7
MODELS = ("atlas-large", "atlas-small", "atlas-mini")
RECORDED = (
    ("Codewright", "azure_llm_2023_code.csv"),
    ("Parley Chat", "azure_llm_2023_conv.csv"),
)
RECORDED_DAY = parse_instant("2023-11-16T00:00:00Z")
PEOPLE = (
    ("Halcyon Games", "GB", "London", "", "EC1A 1BB"),
    ("Maple Transit", "CA", "Toronto", "ON", "M5H 2N2"),
    ("Súmula Dados", "BR", "São Paulo", "", "01310-100"),
    ("東京データ", "JP", "Tokyo", "", "100-0001"),
    ("Brunn & Söhne", "DE", "Köln", "", "50667"),
    ("Pine Street Labs", "US", "Portland", "OR", "97204"),
)
MONTHLY = Cadence.parse("P1M")


@dataclass(frozen=True, slots=True)
class Catalogue:
    product: Product
    tokens_in: BillableMetric
    tokens_out: BillableMetric
    pro: Plan
    scale: Plan


def seed_catalogue(merchant: Organization, *, as_of: datetime) -> Catalogue:
    """Make the product, its metrics and two plans: one by the token, one by volume with a set-up fee."""
    product = create_product(
        organization_id=merchant.pk,
        name="Neural Gateway",
        description="Text generation over one API.",
        metadata={"tier": "demo"},
    )
    metrics = [
        create_metric(
            product=product,
            name=name,
            description=description,
            unit="tokens",
            aggregation="SUM",
            event_type="ai.inference",
            value_property=path,
            group_by={"model": "$.model"},
        )
        for name, description, path in (
            ("Input tokens", "Tokens sent to a model.", "$.input"),
            ("Output tokens", "Tokens a model wrote.", "$.output"),
        )
    ]
    calls = create_metric(
        product=product,
        name="Requests",
        description="Calls made.",
        unit="requests",
        aggregation="COUNT",
        event_type="ai.inference",
    )
    platform = create_fee(product=product, name="Platform fee", description="Access to the gateway.")
    setup = create_fee(product=product, name="Set-up", description="Onboarding, charged once.")
    tiers = [
        {"upTo": "10000", "unitPrice": "0"},
        {"upTo": "100000", "unitPrice": "0.0004"},
        {"upTo": None, "unitPrice": "0.0002"},
    ]
    volume = [{"upTo": "5000000", "unitPrice": "0.000006"}, {"upTo": None, "unitPrice": "0.000004"}]
    pro = _plan(
        product,
        "Pro",
        [
            _fee_price(merchant, platform, "Platform fee", "49.00"),
            _usage_price(merchant, metrics[0], "Input tokens", "standard", {"unitPrice": "0.000002"}),
            _usage_price(merchant, metrics[1], "Output tokens", "standard", {"unitPrice": "0.000006"}),
        ],
        as_of,
    )
    scale = _plan(
        product,
        "Scale",
        [
            _fee_price(merchant, setup, "Set-up", "250.00", cadence="P0D"),
            _fee_price(merchant, platform, "Platform fee", "199.00"),
            _usage_price(merchant, metrics[1], "Output tokens", "volume", {"tiers": volume}),
            _usage_price(merchant, calls, "Requests", "graduated", {"tiers": tiers}),
        ],
        as_of,
    )
    return Catalogue(product, metrics[0], metrics[1], pro, scale)


def seed_history(merchant: Organization, catalogue: Catalogue, shared: Path, *, as_of: datetime) -> None:
    """Two customers whose month of recorded traffic is closed and invoiced, on a test clock.

    Without the recorded files traffic of the same shape is made: a daily rhythm, a heavy tail, repeats, late events.
    """
    clock = create_clock(organization_id=merchant.pk, current_time=RECORDED_DAY, name="November 2023")
    for number, (name, file) in enumerate(RECORDED):
        customer = _customer(merchant, name, ("US", "San Francisco", "CA", "94105"), as_of=as_of)
        _subscribe(customer, catalogue.pro, RECORDED_DAY, clock, pay=True)
        recorded = shared / "data" / file
        if recorded.is_file():
            _import(merchant, customer, recorded, as_of)
        else:
            events = list(made_traffic(customer.public_id, RECORDED_DAY, hours=24, per_hour=150, seed=SEED + number))
            _accept(merchant, events, as_of)
    _advance(clock, add(RECORDED_DAY, MONTHLY) + timedelta(hours=2))
    paid = Invoice.objects.filter(subscription__test_clock=clock, status="ISSUED").order_by("pk").first()
    if paid is not None:
        settle_out_of_band(invoice_id=paid.pk, as_of=clock.current_time, reason="Bank transfer")
        asked = CreditRequest(reason="Outage of two hours", amount=Decimal(5))
        issue_credit_note(invoice_id=paid.pk, asked=asked, as_of=clock.current_time)


def seed_present(merchant: Organization, catalogue: Catalogue, *, as_of: datetime) -> None:
    """Customers with usage up to now, among them one that has not paid its Invoice 0 yet."""
    started = floor_hour(as_of) - timedelta(hours=20)
    for number, (name, *address) in enumerate(PEOPLE):
        country, city, state, zip_code = address
        customer = _customer(merchant, name, (country, city, state, zip_code), as_of=as_of)
        plan = catalogue.scale if number % 3 == 2 else catalogue.pro
        is_paying = number != len(PEOPLE) - 1
        _subscribe(customer, plan, started, None, pay=is_paying, as_of=as_of)
        if is_paying:
            first_day = as_of - timedelta(days=6)
            _accept(
                merchant,
                list(
                    made_traffic(
                        customer.public_id, first_day, hours=144, per_hour=6 + 4 * number, seed=SEED + number
                    )
                ),
                as_of,
            )
    drain()


def made_traffic(subject: str, start: datetime, *, hours: int, per_hour: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield realistic events: busy afternoons, few very long requests, some repeats, some that come late."""
    source = random.Random(f"{seed}:{subject}")
    late: list[dict[str, Any]] = []
    for hour in range(hours):
        moment = start + timedelta(hours=hour)
        rhythm = 1 + Decimal(str(round(0.8 * sin((moment.hour - 9) * pi / 12), 3)))
        for _ in range(int(per_hour * rhythm)):
            at = moment + timedelta(seconds=source.randrange(3600), microseconds=source.randrange(1_000_000))
            event = {
                "type": "ai.inference",
                "source": "gateway",
                "subject": subject,
                "timestamp": at.isoformat(),
                "idempotencyKey": f"demo-{seed}-{subject}-{source.getrandbits(64):x}",
                "data": {
                    "model": source.choices(MODELS, (1, 3, 6))[0],
                    "input": int(source.paretovariate(1.1) * 300) % 120_000,
                    "output": int(source.paretovariate(1.3) * 60) % 16_000,
                },
            }
            if source.random() < 0.03:
                late.append(event)
            else:
                yield event
            if source.random() < 0.02:
                yield event
    yield from late


def _plan(product: Product, name: str, prices: list[Price], as_of: datetime) -> Plan:
    return create_plan(
        product=product,
        lines=[PlanLine(price.public_id) for price in prices],
        as_of=as_of,
        name=name,
        currency="USD",
        billing_cadence="P1M",
    )


def _fee_price(merchant: Organization, fee: Fee, name: str, amount: str, *, cadence: str = "P1M") -> Price:
    return create_price(
        organization_id=merchant.pk,
        metric=None,
        fee=fee,
        model="standard",
        properties={"unitPrice": amount},
        payment_term="in_advance",
        billing_cadence=cadence,
        invoice_display_name=name,
    )


def _usage_price(
    merchant: Organization, metric: BillableMetric, name: str, model: str, properties: dict[str, Any]
) -> Price:
    return create_price(
        organization_id=merchant.pk,
        metric=metric,
        fee=None,
        model=model,
        properties=properties,
        payment_term="in_arrears",
        invoice_display_name=name,
    )


def _customer(merchant: Organization, name: str, address: tuple[str, str, str, str], *, as_of: datetime) -> Customer:
    country, city, state, zip_code = address
    consumer = find_or_create_consumer(
        merchant=merchant,
        name=name,
        email=f"billing@{''.join(c for c in name.lower() if c.isascii() and c.isalnum()) or 'tokyo-data'}.test",
        address={"line1": "1 Main Street", "city": city, "state": state, "country": country, "zipCode": zip_code},
    )
    customer, _ = create_customer(merchant=merchant, consumer=consumer, as_of=as_of)
    return customer


def _subscribe(
    customer: Customer,
    plan: Plan,
    started: datetime,
    clock: TestClock | None,
    *,
    pay: bool,
    as_of: datetime | None = None,
) -> Subscription:
    now = clock.current_time if clock is not None else as_of or started
    subscription, _ = subscribe(
        customer=customer,
        plan=plan,
        name=f"{customer.consumer.name} {plan.name}",
        started_at=started,
        as_of=now,
        options=SubscriptionOptions(test_clock=clock),
    )
    if pay:
        invoice = Invoice.objects.get(subscription=subscription, sequence_number=0)
        settle_out_of_band(invoice_id=invoice.pk, as_of=now, reason="Bank transfer")
    return subscription


def _import(merchant: Organization, customer: Customer, file: Path, as_of: datetime) -> None:
    import_file(
        organization=merchant,
        path=file,
        mapping=RowMapping(
            columns={"timestamp": "TIMESTAMP", "data.input": "ContextTokens", "data.output": "GeneratedTokens"},
            constants={"type": "ai.inference", "source": "recorded", "subject": customer.public_id},
        ),
        as_of=as_of,
        on_progress=lambda progress: None,
        should_stop=lambda: False,
    )


def _accept(merchant: Organization, events: list[dict[str, Any]], as_of: datetime) -> None:
    for start in range(0, len(events), 5_000):
        accept_events(
            events[start : start + 5_000],
            organization_id=merchant.pk,
            organization_public_id=merchant.public_id,
            as_of=as_of,
            is_import=True,
        )


def _advance(clock: TestClock, target: datetime) -> None:
    drain()
    request_advance(clock_id=clock.pk, target=target)
    run_advance(clock_id=clock.pk)
    clock.refresh_from_db()
