"""A draft is issued by who integrates, once."""

import pytest

from tests.world import World

pytestmark = pytest.mark.django_db
JANUARY = "2026-01-01T00:00:00Z"


def test_a_draft_is_issued_once_and_an_open_invoice_is_not(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.usage_price(world.metric(product), unit_price="0.5")])
    customer, clock = world.customer(), world.clock(JANUARY)
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock, autoApprove=False)["id"]
    world.send(customer, "2026-01-05T10:00:00Z", tokens=10)
    opened = world.invoices(subscription)[-1]["id"]
    world.api.post(f"/v2/invoices/{opened}/approve", expect=409)

    world.advance(clock, "2026-02-01T02:00:00Z")
    draft = world.api.get(f"/v2/invoices/{opened}")
    assert (draft["status"], draft.get("invoiceNumber")) == ("DRAFT", None)
    issued = world.api.post(f"/v2/invoices/{opened}/approve", expect=200)
    assert (issued["status"], issued["grandTotal"]) == ("ISSUED", "5.00")
    assert world.api.post(f"/v2/invoices/{opened}/approve", expect=200) == issued
    world.api.post("/v2/invoices/inv_000000000000000000000000/approve", expect=404)
