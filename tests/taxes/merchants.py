"""Merchants that are registered for tax, and what their customers are billed."""

from typing import Any

from apps.organizations.models import Organization
from tests.world import World

JANUARY, FEBRUARY = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
GERMAN_ID, FRENCH_ID = "DE136695976", "FR40303265045"


def settle_in_berlin(world: World) -> None:
    """Let a merchant be German, registered there, with its standard rate."""
    Organization.objects.filter(pk=world.merchant.pk).update(
        name="Nordlicht GmbH", line1="Hafen 1", city="Berlin", zip_code="10115", country="DE", vat_id=GERMAN_ID,
        registration_number="HRB 1",
    )  # fmt: skip
    register(world, country="DE", taxId=GERMAN_ID, validFrom="2025-01-01")
    rate(world, country="DE", name="VAT", percent="19")


def settle_in_montreal(world: World) -> None:
    """Let a merchant be from Québec, registered for both of its taxes."""
    Organization.objects.filter(pk=world.merchant.pk).update(
        line1="1 rue", city="Montréal", state="QC", zip_code="H2X 1Y4", country="CA"
    )
    register(world, country="CA", taxId="123026635RT0001")
    register(world, country="CA", region="QC", taxId="1234567890TQ0001")
    rate(world, country="CA", name="GST", percent="5")
    rate(world, country="CA", region="QC", name="QST", percent="9.975")


def register(world: World, expect: int = 201, **body: Any) -> Any:
    return world.api.post("/v0/taxRegistrations", body, expect=expect)


def rate(world: World, expect: int = 201, **body: Any) -> Any:
    return world.api.post("/v0/taxRates", body, expect=expect)


def customer_in(world: World, country: str, **more: Any) -> str:
    """Make a customer somewhere; `state` and `zipCode` go to its address."""
    address = {"line1": "1 Main", "city": "There", "country": country, "zipCode": more.pop("zipCode", "10115")}
    if "state" in more:
        address["state"] = more.pop("state")
    number = world.merchant.pk, country, len(more), address["zipCode"], more.get("externalId", "")
    consumer = {"name": f"Customer {country}", "email": f"ap{abs(hash(number))}@customer.test", "address": address}
    return str(world.api.post("/v0/customers", {"merchantId": world.id, "consumer": consumer, **more})["customerId"])


def plan_of(world: World, fee: str = "49.00", **more: Any) -> str:
    """Make a plan with a fee in advance, and tokens in arrears at 2.00 a million."""
    product = world.product()
    return world.plan(product, [world.fee_price(product, fee), world.usage_price(world.metric(product))], **more)


def billed(world: World, customer: str, plan: str = "", *, tokens: int = 1_000_000) -> str:
    """Bill a customer's January: usage worth 2.00, and February's fee; gives that invoice."""
    clock = world.clock(JANUARY)
    subscription = world.subscribe(customer, plan or plan_of(world), at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.send(customer, "2026-01-10T00:00:00Z", tokens=tokens)
    world.advance(clock, FEBRUARY)
    return str(world.invoices(subscription["id"])[1]["id"])


def taxes(world: World, invoice: str) -> list[tuple[Any, ...]]:
    """Give the taxes of an invoice: category, name, percent, net and amount."""
    found = world.api.get(f"/v2/invoices/{invoice}/taxes")["taxes"]
    return [(row["category"], row["name"], row["percent"], row["net"], row["amount"]) for row in found]
