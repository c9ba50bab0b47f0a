"""The worked examples as demo data: each plan has a customer whose January is billed."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from apps.catalog.models import BillableMetric, Feature, Price, Product
from apps.catalog.services.plans import PlanLine, create_plan
from apps.catalog.services.prices import create_price
from apps.catalog.services.products import create_feature, create_fee, create_metric, create_product
from apps.customers.models import Customer
from apps.customers.services.customers import create_customer
from apps.invoicing.domain.adjustments import MINIMUM, PERCENTAGE
from apps.invoicing.management.example_plans import SHELVES, Counted, Sold, Term
from apps.invoicing.management.seed_taxes import FRENCH_VAT_ID
from apps.invoicing.models import Invoice
from apps.invoicing.services.adjustments import Agreement, create_adjustment
from apps.invoicing.services.settlement import settle_out_of_band
from apps.invoicing.services.subscribing import subscribe
from apps.kernel.time import Cadence, add, parse_instant
from apps.metering.services.merge import drain
from apps.metering.services.staging import accept_events
from apps.organizations.models import Organization
from apps.organizations.services.organizations import find_or_create_consumer
from apps.subscriptions.models import Subscription, TestClock
from apps.subscriptions.services.clocks import create_clock, request_advance, run_advance
from apps.subscriptions.services.subscriptions import SubscriptionOptions

START = parse_instant("2026-01-01T00:00:00Z")
YEAR = Cadence.parse("P1Y")


def seed_examples(merchant: Organization, *, as_of: datetime) -> None:
    """Make the plans of the worked examples, each with a customer whose January is billed, on a test clock."""
    clock = create_clock(organization_id=merchant.pk, current_time=START, name="Worked examples")
    events: list[dict[str, Any]] = []
    for shelf in SHELVES:
        product = create_product(
            organization_id=merchant.pk, name=shelf.product, description=shelf.description, metadata={}
        )
        features = {
            key: create_feature(product=product, key=key, name=name, type="boolean", metadata={})
            for key, name in shelf.features.items()
        }
        metrics = {known.name: _metric(product, known) for known in shelf.metrics}
        for sold in shelf.sold:
            subscription, prices = _sell(merchant, product, metrics, features, sold, clock, as_of)
            _agree(subscription, prices, sold)
            events += [
                {
                    "type": event_type,
                    "source": "examples",
                    "subject": subscription.customer.public_id,
                    "timestamp": f"2026-01-{moment}Z",
                    "idempotencyKey": f"example-{subscription.customer.public_id}-{number}",
                    "data": dict(data),
                }
                for number, (moment, event_type, data) in enumerate(sold.events)
            ]
    accept_events(
        events,
        organization_id=merchant.pk,
        organization_public_id=merchant.public_id,
        as_of=as_of,
        is_import=True,
    )
    drain()
    request_advance(clock_id=clock.pk, target=add(START, Cadence.parse("P1M")) + timedelta(hours=2))
    run_advance(clock_id=clock.pk)


def _metric(product: Product, known: Counted) -> BillableMetric:
    return create_metric(
        product=product,
        name=known.name,
        description="",
        unit=known.unit,
        aggregation=known.aggregation,
        event_type=known.event_type,
        value_property=known.path,
        group_by={known.dimension: f"$.{known.dimension}"} if known.dimension else {},
    )


def _sell(
    merchant: Organization,
    product: Product,
    metrics: Mapping[str, BillableMetric],
    features: Mapping[str, Feature],
    sold: Sold,
    clock: TestClock,
    as_of: datetime,
) -> tuple[Subscription, list[Price]]:
    """Make a plan and let its customer take it and pay what is due at once."""
    prices = [_price(product, metrics, features, term) for term in sold.terms]
    plan = create_plan(
        product=product,
        lines=[PlanLine(price.public_id) for price in prices],
        as_of=START,
        name=sold.plan,
        currency=sold.currency,
        billing_cadence="P1M",
    )
    subscription, _ = subscribe(
        customer=_customer(merchant, sold.customer, as_of),
        plan=plan,
        name=f"{sold.customer} {sold.plan}",
        started_at=START,
        as_of=START,
        options=SubscriptionOptions(test_clock=clock, ending_at=add(START, YEAR) if sold.is_for_a_year else None),
    )
    for invoice in Invoice.objects.filter(subscription=subscription, sequence_number=0, status="ISSUED"):
        settle_out_of_band(invoice_id=invoice.pk, as_of=START, reason="Bank transfer")
    return subscription, prices


def _price(
    product: Product, metrics: Mapping[str, BillableMetric], features: Mapping[str, Feature], term: Term
) -> Price:
    is_metered = bool(term.metric)
    return create_price(
        organization_id=product.organization_id,
        metric=metrics[term.metric] if is_metered else None,
        fee=None if is_metered else create_fee(product=product, name=term.name, description=""),
        feature=features.get(term.feature),
        model=term.model,
        properties=dict(term.properties),
        payment_term="in_arrears" if is_metered else "in_advance",
        billing_cadence="" if is_metered else "P1M",
        quantity=term.quantity,
        invoice_display_name=term.name,
    )


def _agree(subscription: Subscription, prices: Sequence[Price], sold: Sold) -> None:
    if sold.off is not None:
        agreement = Agreement(PERCENTAGE, sold.off, START, add(START, YEAR), description="Committed usage")
        create_adjustment(subscription_id=subscription.pk, agreement=agreement, as_of=START)
    if sold.at_least is not None:
        agreement = Agreement(MINIMUM, sold.at_least, START, price_public_id=prices[0].public_id)
        create_adjustment(subscription_id=subscription.pk, agreement=agreement, as_of=START)


def _customer(merchant: Organization, name: str, as_of: datetime) -> Customer:
    consumer = find_or_create_consumer(
        merchant=merchant,
        name=name,
        email=f"billing@{''.join(c for c in name.lower() if c.isalnum())}.test",
        address={"line1": "2 Main Street", "city": "Lyon", "country": "FR", "zipCode": "69001"},
    )
    # A business of another member state: it owes the tax itself.
    customer, _ = create_customer(merchant=merchant, consumer=consumer, tax_id=FRENCH_VAT_ID, as_of=as_of)
    return customer
