"""Documents: numbers without gaps, taxes that add up, nothing that changes once issued."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction

from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.services import issuing
from apps.invoicing.services.lifecycle import run_boundaries, run_calculations
from apps.invoicing.services.numbers import next_number
from apps.kernel.lifecycle import run_due
from apps.organizations.models import Organization
from apps.subscriptions.models import Subscription, TestClock
from tests.world import World, at, make_world

JANUARY = "2026-01-01T00:00:00Z"


def subscribed(world: World, clock: str, **plan: object) -> str:
    product = world.product()
    made = world.plan(product, [world.fee_price(product), world.usage_price(world.metric(product))], **plan)
    subscription = world.subscribe(world.customer(), made, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    return str(subscription["id"])


@pytest.mark.django_db
def test_a_draft_waits_for_approval_and_takes_no_number(world: World) -> None:
    Organization.objects.filter(pk=world.merchant.pk).update(auto_approve=False)
    product = world.product()
    plan = world.plan(product, [world.fee_price(product)])
    subscription = world.subscribe(world.customer(), plan, at=JANUARY, clock=world.clock(JANUARY))
    assert subscription["payment"] == {
        "status": "awaiting_approval", "invoiceId": subscription["payment"]["invoiceId"], "amount": "49.00",
    }  # fmt: skip
    invoice = Invoice.objects.get()
    assert (invoice.status, invoice.number) == ("DRAFT", None)


@pytest.mark.django_db
def test_exclusive_and_inclusive_taxes(world: World) -> None:
    clock = world.clock(JANUARY)
    shown = {}
    for behavior in ("exclusive", "inclusive"):
        subscription = subscribed(world, clock, defaultTaxRate=19, taxBehavior=behavior)
        invoice = world.invoices(subscription)[0]
        shown[behavior] = (invoice["subtotal"], invoice["totalTax"], invoice["grandTotal"])
        line = world.lines(invoice["id"])[0]
        assert Decimal(line["totalPrice"]) + Decimal(line["totalTax"]) == Decimal(line["totalAmount"])
        assert line["taxRate"] == 0.19
    assert shown == {"exclusive": ("49.00", "9.31", "58.31"), "inclusive": ("41.18", "7.82", "49.00")}


@pytest.mark.django_db
def test_the_customers_rate_comes_before_the_plans(world: World) -> None:
    clock = world.clock(JANUARY)
    product = world.product()
    plan = world.plan(product, [world.fee_price(product)], defaultTaxRate=19)
    customer = world.customer(taxRates={"default": 7, plan: 5})
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    assert subscription["payment"]["amount"] == "51.45"
    exempt = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock, taxExempt=True)
    assert exempt["payment"]["amount"] == "49.00"


@pytest.mark.django_db
def test_manual_lines_are_billed_with_the_period_and_once(world: World) -> None:
    clock = world.clock(JANUARY)
    subscription = subscribed(world, clock)
    body = {
        "displayName": "Support", "currency": "USD", "quantity": 2, "unitPrice": 12.345,
        "subscriptionId": subscription,
    }  # fmt: skip
    first = world.api.post("/v2/invoices/lineItems", body, **{"Idempotency-Key": "m1"})
    again = world.api.post("/v2/invoices/lineItems", body, expect=200, **{"Idempotency-Key": "m1"})
    assert (first["subtotal"], again["id"]) == ("24.69", first["id"])
    other = {**body, "unitPrice": 1}
    world.api.post("/v2/invoices/lineItems", other, expect=409, **{"Idempotency-Key": "m1"})
    world.api.post("/v2/invoices/lineItems", {**body, "currency": "EUR"}, expect=422)
    world.api.post("/v2/invoices/lineItems", {**body, "quantity": 0}, expect=400)
    live = world.invoices(subscription)[1]
    assert live["grandTotal"] == "73.69"
    world.advance(clock, "2026-02-02T00:00:00Z")
    issued = world.invoices(subscription)[1]
    assert (issued["status"], issued["grandTotal"], issued["itemCount"]) == ("ISSUED", "73.69", 3)
    closed = {**body, "subscriptionId": None, "invoiceId": issued["id"]}
    closed.pop("subscriptionId")
    world.api.post("/v2/invoices/lineItems", closed, expect=422)


@pytest.mark.django_db
def test_a_manual_lines_repeat_is_harmless_after_the_end_too(world: World) -> None:
    clock = world.clock(JANUARY)
    subscription = subscribed(world, clock)
    body = {
        "displayName": "Support", "currency": "USD", "quantity": "2", "unitPrice": "12.00",
        "subscriptionId": subscription, "idempotencyKey": "m1",
    }  # fmt: skip
    first = world.api.post("/v2/invoices/lineItems", body)
    world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "x"}, expect=200)
    world.advance(clock, "2026-02-02T00:00:00Z")
    again = world.api.post("/v2/invoices/lineItems", body, expect=200)
    assert (again["id"], again["status"]) == (first["id"], "invoiced")
    other = world.api.post("/v2/invoices/lineItems", {**body, "idempotencyKey": "m2"}, expect=422)
    assert other["code"] == "NO_OPEN_INVOICE"
    assert InvoiceLine.objects.filter(kind="manual").count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_malformed_key_of_a_manual_line_is_named(world: World, key: str) -> None:
    body = {
        "displayName": "Support", "currency": "USD", "quantity": "2", "unitPrice": "12.00",
        "subscriptionId": subscribed(world, world.clock(JANUARY)),
    }  # fmt: skip
    answer = world.api.post("/v2/invoices/lineItems", body, expect=400, **{"Idempotency-Key": key})
    assert answer["errors"][0]["field"] == "Idempotency-Key"
    assert not InvoiceLine.objects.filter(kind="manual").exists()


@pytest.mark.django_db
def test_a_rebate_never_pushes_an_invoice_below_zero(world: World) -> None:
    clock = world.clock(JANUARY)
    product = world.product()
    plan = world.plan(product, [world.fee_price(product), world.usage_price(world.metric(product), "-1")])
    customer = world.customer()
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.send(customer, "2026-01-05T00:00:00Z", tokens=80)
    world.advance(clock, "2026-02-02T00:00:00Z")
    invoice = world.invoices(subscription["id"])[1]
    assert invoice["grandTotal"] == "0.00"
    assert world.amounts(invoice["id"]) == [Decimal("-49.00"), Decimal("49.00")]


@pytest.mark.django_db
def test_an_issued_document_refuses_change(world: World) -> None:
    subscription = subscribed(world, world.clock(JANUARY))
    invoice = Invoice.objects.get(subscription__public_id=subscription, sequence_number=0)
    opened = Invoice.objects.get(subscription__public_id=subscription, sequence_number=1)
    attempts = [
        lambda: Invoice.objects.filter(pk=invoice.pk).update(grand_total=1, subtotal=1),
        lambda: Invoice.objects.filter(pk=invoice.pk).update(number="INV-1"),
        lambda: Invoice.objects.filter(pk=invoice.pk).update(status="ACTIVE"),
        lambda: InvoiceLine.objects.filter(invoice=invoice).update(total=1, subtotal=1),
        lambda: InvoiceLine.objects.filter(invoice=invoice).update(invoice=opened),
        lambda: InvoiceLine.objects.filter(invoice=invoice).delete(),
        lambda: Invoice.objects.filter(pk=invoice.pk)._raw_delete("default"),
    ]
    for attempt in attempts:
        with pytest.raises(DatabaseError, match=r"Cannot|never change"), transaction.atomic():
            attempt()


@pytest.mark.django_db
def test_zero_digit_currency_is_billed_in_whole_units(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "1000.4")], currency="JPY")
    subscription = world.subscribe(world.customer(), plan, at=JANUARY, clock=world.clock(JANUARY))
    assert subscription["payment"]["amount"] == "1000"


@pytest.mark.django_db
def test_one_impossible_invoice_is_set_aside_and_the_rest_is_billed(world: World) -> None:
    clock = world.clock(JANUARY)
    good, bad = subscribed(world, clock), subscribed(world, clock)
    Invoice.objects.filter(subscription__public_id=bad, sequence_number=1).update(price_revision_ids=[-1])
    row = Subscription.objects.get(public_id=bad)
    Subscription.objects.filter(pk=row.pk).update(timezone="No/Where")
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert world.invoices(good)[1]["status"] == "ISSUED"
    row.refresh_from_db()
    assert "No/Where" in row.parked_reason
    # Repaired and resumed, it catches up.
    Subscription.objects.filter(pk=row.pk).update(timezone="UTC", parked_reason="")
    world.advance(clock, "2026-02-03T00:00:00Z")
    assert Invoice.objects.get(subscription=row, sequence_number=1).status in {"ISSUED", "FAILED"}


@pytest.mark.django_db
def test_a_failure_of_the_database_sets_nothing_aside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadlock or a lost connection says nothing of an invoice: what was held up is billed by the next run."""
    clock = world.clock(JANUARY)
    first, second = subscribed(world, clock), subscribed(world, clock)
    held_up = Invoice.objects.get(subscription__public_id=second, sequence_number=1)
    row, end = TestClock.objects.get(public_id=clock), at("2026-02-02T00:00:00Z")
    inner = issuing.target_lines

    def failing(invoices: Sequence[Invoice], **rest: Any) -> Any:
        if held_up in invoices:
            raise OperationalError("deadlock detected")
        return inner(invoices, **rest)

    with monkeypatch.context() as broken:
        broken.setattr(issuing, "target_lines", failing)
        run_due(clock_id=row.pk, until=end, in_simulated_time=False)
    assert world.invoices(first)[1]["status"] == "ISSUED"
    held_up.refresh_from_db()
    assert (held_up.status, held_up.failure_reason) == ("CLOSING", "")

    run_due(clock_id=row.pk, until=end, in_simulated_time=False)
    held_up.refresh_from_db()
    assert held_up.status == "ISSUED"


@pytest.mark.django_db
def test_pages_of_lines_follow_the_token(world: World) -> None:
    subscription = subscribed(world, world.clock(JANUARY))
    invoice = world.invoices(subscription)[1]["id"]
    first = world.api.get(f"/v2/invoices/{invoice}/lineItems?limit=1")
    assert (len(first["lineItems"]), first["totalCount"]) == (1, 2)
    second = world.api.get(f"/v2/invoices/{invoice}/lineItems?limit=1&pageToken={first['nextPageToken']}")
    assert second["nextPageToken"] is None
    assert second["lineItems"][0]["id"] != first["lineItems"][0]["id"]
    world.api.get(f"/v2/invoices/{invoice}/lineItems?pageToken=junk", expect=400)
    world.api.get(f"/v2/invoices/{invoice}/lineItems?limit=0", expect=400)


@pytest.mark.django_db
def test_projected_invoices_have_fees_and_no_usage(world: World) -> None:
    subscription = subscribed(world, world.clock(JANUARY))
    url = f"/v2/invoices/projected?subscriptionId={subscription}&to=2026-04-15T00:00:00Z"
    found = world.api.get(url)["data"]
    assert [(i["periodEnd"], i["grandTotal"]) for i in found] == [
        ("2026-02-01T00:00:00Z", "49.00"), ("2026-03-01T00:00:00Z", "49.00"), ("2026-04-01T00:00:00Z", "49.00"),
    ]  # fmt: skip
    assert found == world.api.get(url)["data"]
    world.api.get(f"/v2/invoices/{found[1]['id']}", expect=404)


@pytest.mark.django_db(transaction=True)
def test_numbers_have_no_gap_and_no_repeat_under_twenty_issuers() -> None:
    merchant = make_world().merchant
    now = datetime(2026, 12, 31, 23, tzinfo=UTC)
    taken: list[str] = []
    lock = threading.Lock()

    class GivenUpError(Exception):
        pass

    def issue(worker: int) -> None:
        try:
            for turn in range(10):
                try:
                    with transaction.atomic():
                        numbers = next_number(organization=merchant, as_of=now, count=1 + turn % 2)
                        if (worker + turn) % 4 == 0:
                            raise GivenUpError
                except GivenUpError:
                    continue
                with lock:
                    taken.extend(numbers)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=issue, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [f"INV-2026-{n:06d}" for n in range(1, len(taken) + 1)]


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_one_boundary_bill_once() -> None:
    world = make_world()
    clock = world.clock(JANUARY)
    ids = [subscribed(world, clock) for _ in range(6)]
    clock_id = Subscription.objects.get(public_id=ids[0]).test_clock_id
    later = datetime(2026, 2, 1, 2, tzinfo=UTC)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(3):
                run_boundaries(clock_id, later)
                run_calculations(clock_id, later)
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for subscription in ids:
        invoices = Invoice.objects.filter(subscription__public_id=subscription).order_by("sequence_number")
        assert [i.status for i in invoices] == ["PAID", "ISSUED", "ACTIVE"]
    numbers = sorted(Invoice.objects.exclude(number=None).values_list("number", flat=True))
    assert [int(n[-6:]) for n in numbers if "-2026-" in n] == list(range(1, 13))
