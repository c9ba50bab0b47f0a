"""A year in which the price rises in steps that were agreed at its beginning, and the team grows on the way."""

from decimal import Decimal

import pytest

from apps.rating.reading import recompute
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


def test_a_year_with_three_steps(world: World) -> None:
    product = world.product()
    lines = [
        {"priceId": world.fee_price(product, "40.00"), "key": "seats"},
        {"priceId": world.usage_price(world.metric(product), unit_price="0.010"), "key": "tokens"},
    ]
    plan = world.plan(product, lines)  # type: ignore[arg-type]
    clock, customer = world.clock(JANUARY), world.customer()
    items = [{"priceKey": "seats", "quantity": "10"}]
    made = world.subscribe(customer, plan, at=JANUARY, clock=clock, items=items)
    subscription = made["id"]
    assert made["payment"]["amount"] == "400.00"
    world.pay(made["payment"]["invoiceId"])

    # Seats at 20.00 from February, 25.00 from April, 30.00 from 16 July to the end of September; then the list price.
    steps = [
        ("20.00", "2026-02-01T00:00:00Z", "2026-04-01T00:00:00Z"),
        ("25.00", "2026-04-01T00:00:00Z", "2026-07-16T00:00:00Z"),
        ("30.00", "2026-07-16T00:00:00Z", "2026-10-01T00:00:00Z"),
    ]
    ramp = [
        {"priceKey": "seats", "unitPrice": price, "baseQuantity": "10", "billingCadence": "P1M",
         "billingMode": "advance", "startDate": start, "endDate": end}
        for price, start, end in steps
    ]  # fmt: skip
    # And tokens for half from May on.
    ramp.append(
        {"priceKey": "tokens", "unitPrice": "0.005", "baseQuantity": "1", "billingCadence": "P1M",
         "billingMode": "arrears", "startDate": "2026-05-01T00:00:00Z"}
    )  # fmt: skip
    agreed = world.api.post(f"/v0/subscriptions/{subscription}/intervals", {"add": ramp}, expect=200)
    assert [one["unitPrice"] for one in agreed["intervals"] if one["priceKey"] == "seats"] == [
        None, "20", "25", "30", None,
    ]  # fmt: skip

    for month in range(1, 13):
        day = f"2026-{month:02}-10T00:00:00Z"
        world.advance(clock, day)
        world.send(customer, day, tokens=1000)
        if month == 8:
            # Two seats more for 22 of August's 31 days and, as August's step brings ten again, until it is over.
            body = {"items": [{"priceKey": "seats", "quantity": "12"}]}
            world.api.post(f"/v0/subscriptions/{subscription}/quantityChange", body, expect=200)
    world.advance(clock, "2027-01-02T00:00:00Z")

    invoices = [invoice for invoice in world.invoices(subscription) if invoice["status"] in {"PAID", "ISSUED"}]
    assert [invoice["grandTotal"] for invoice in invoices] == [
        "400.00",
        "210.00",  # tokens of January for 10.00, seats of February
        "210.00",
        "260.00",
        "260.00",
        "255.00",  # tokens for half
        # July: 15 of 31 days at 250.00 and 16 at 300.00 come to 275.806…
        "280.81",
        "305.00",
        # Tokens 5.00, September's twelve seats at 30.00, and 2 × 30.00 × 22/31 = 42.58 for August.
        "407.58",
        "405.00",  # the ten of the start at the list price, as the last step is over
        "405.00",
        "405.00",
        "405.00",
    ]
    july = [line for line in world.lines(invoices[6]["id"]) if line["invoiceDisplayName"] == "Platform fee"]
    assert [(line["unitPrice"], line["totalPrice"]) for line in july] == [("25", "120.97"), ("30", "154.84")]
    for invoice in invoices:
        for line in world.lines(invoice["id"]):
            assert recompute(line["provenance"]) == Decimal(line["totalPrice"])
