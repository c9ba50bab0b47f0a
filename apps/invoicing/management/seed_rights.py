"""The demo's agents: what a customer may use now, with units of its own, credits that prices share, and slots."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from apps.catalog.models import Plan, PricingUnit
from apps.catalog.services.credits import AllocationTerms
from apps.catalog.services.plans import PlanLine, create_plan
from apps.catalog.services.prices import create_price
from apps.catalog.services.products import create_feature, create_fee, create_metric, create_product
from apps.catalog.services.units import create_unit
from apps.customers.models import Customer
from apps.customers.services.customers import create_customer
from apps.entitlements.models import Entitlement
from apps.entitlements.selectors.asking import Asked
from apps.entitlements.services.bursts import grant_burst
from apps.entitlements.services.granting import GrantTerms, create_grant
from apps.entitlements.services.slots import acquire_slot
from apps.invoicing.models import Invoice
from apps.invoicing.services.settlement import settle_out_of_band
from apps.invoicing.services.subscribing import subscribe
from apps.kernel.time import floor_hour
from apps.metering.services.merge import drain
from apps.metering.services.staging import accept_events
from apps.organizations.models import Organization
from apps.organizations.services.organizations import find_or_create_consumer
from apps.subscriptions.services.subscriptions import SubscriptionOptions

EVENT = "agent.run"
# By the day: running slots of the demo end with it.
LEASE = timedelta(days=1)
HOLDERS = ("nightly report", "inbox triage")
HOURS = 18


def seed_rights(merchant: Organization, *, as_of: datetime) -> None:
    """Sell agents to a customer that has used some of what its plan brings."""
    plan = _plan(merchant, as_of)
    consumer = find_or_create_consumer(
        merchant=merchant, name="Kestrel Robotics", email="billing@kestrelrobotics.test", address={"country": "US"}
    )
    customer, _ = create_customer(merchant=merchant, consumer=consumer, as_of=as_of)
    subscription, _ = subscribe(
        customer=customer, plan=plan, name="Kestrel Agents", started_at=floor_hour(as_of) - timedelta(hours=20),
        as_of=as_of, options=SubscriptionOptions(),
    )  # fmt: skip
    invoice = Invoice.objects.get(subscription=subscription, sequence_number=0)
    settle_out_of_band(invoice_id=invoice.pk, as_of=as_of, reason="Bank transfer")
    rows = list(_runs(customer, as_of))
    accept_events(
        rows, organization_id=merchant.pk, organization_public_id=merchant.public_id, as_of=as_of, is_import=True
    )
    drain()
    _give(customer, as_of)


def _plan(merchant: Organization, as_of: datetime) -> Plan:
    """Make a plan: searches up to a soft limit, tokens in credits of one pool, five agents at a time."""
    product = create_product(organization_id=merchant.pk, name="Agents", description="Runs agents", metadata={})
    unit = create_unit(organization_id=merchant.pk, key="credits", name="Credits")
    searches = create_feature(product=product, key="searches", name="Searches", type="metered", metadata={})
    runs = create_feature(product=product, key="runs", name="Agents at a time", type="static", metadata={})
    fee = create_price(
        organization_id=merchant.pk, metric=None, fee=create_fee(product=product, name="Agents", description=""),
        model="standard", properties={"unitPrice": "199.00"}, payment_term="in_advance", billing_cadence="P1M",
        invoice_display_name="Agents", feature=runs, entitlement_template={"slots": 5},
    )  # fmt: skip
    template = {"usagePeriod": {"interval": "P1M"}, "issueAfterReset": 1_000, "isSoftLimit": True}
    overage = _usage_price(
        merchant, product, "Searches", "searches", "0.01", feature=searches, entitlement_template=template
    )
    prices = [
        fee,
        overage,
        _usage_price(merchant, product, "Input tokens", "input", "0.001", pricing_unit=unit),
        _usage_price(merchant, product, "Output tokens", "output", "0.004", pricing_unit=unit),
    ]
    return create_plan(
        product=product, lines=[PlanLine(price.public_id) for price in prices], as_of=as_of, name="Agents",
        currency="USD", billing_cadence="P1M", allocations=[_monthly(unit)],
    )  # fmt: skip


def _monthly(unit: PricingUnit) -> AllocationTerms:
    return AllocationTerms(unit.public_id, Decimal(10_000), "P1M")


def _usage_price(merchant: Organization, product: Any, name: str, counted: str, rate: str, **extra: Any) -> Any:
    metric = create_metric(
        product=product, name=name, description="", unit=counted, aggregation="SUM", event_type=EVENT,
        value_property=f"$.{counted}",
    )  # fmt: skip
    return create_price(
        organization_id=merchant.pk, metric=metric, fee=None, model="standard", properties={"unitPrice": rate},
        payment_term="in_arrears", invoice_display_name=name, **extra,
    )  # fmt: skip


def _runs(customer: Customer, as_of: datetime) -> Iterator[dict[str, Any]]:
    """Give what agents used in the last hours."""
    for hour in range(HOURS):
        yield {
            "type": EVENT,
            "source": "agents",
            "subject": customer.public_id,
            "timestamp": (as_of - timedelta(hours=hour, minutes=7)).isoformat(),
            "idempotencyKey": f"demo-agents-{hour}",
            "data": {"searches": 20 + 7 * hour, "input": 90_000 + 4_000 * hour, "output": 30_000 + 1_500 * hour},
        }


def _give(customer: Customer, as_of: datetime) -> None:
    """Give some searches on top, take two slots, and allow two more agents for a day."""
    rights = Entitlement.objects.filter(customer=customer).select_related("feature")
    by_key = {row.feature.key: row for row in rights if row.feature is not None}
    welcome = GrantTerms(Decimal(500), "demo-welcome", as_of, expires_at=as_of + timedelta(days=30))
    create_grant(entitlement_id=by_key["searches"].pk, terms=welcome, as_of=as_of)
    runs = by_key["runs"]
    grant_burst(
        entitlement=runs, slots=2, starts_at=as_of, ends_at=as_of + LEASE, key="demo-launch", reason="Launch week"
    )
    asked = Asked(customer.public_id, None, runs.right_to.public_id)
    for holder in HOLDERS:
        acquire_slot(
            organization_id=customer.organization_id, asked=asked, key=f"demo-{holder}", lease=LEASE, holder=holder
        )
