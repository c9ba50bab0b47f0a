"""Starts, ends and everything between, by the calendar."""

from typing import Any

import pytest
from django.test import Client

from apps.invoicing.models import Invoice, PaymentSession
from apps.invoicing.services.issuing import approve_invoice
from apps.invoicing.services.periods import cross_boundaries
from apps.kernel.time import parse_instant
from apps.organizations.models import Organization
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


@pytest.fixture
def clock(world: World) -> str:
    return world.clock(JANUARY)


@pytest.fixture
def pro(world: World) -> str:
    product = world.product()
    return world.plan(product, [world.fee_price(product), world.usage_price(world.metric(product))])


def test_subscribing_twice_gives_the_same_subscription(world: World, clock: str, pro: str) -> None:
    customer = world.customer()
    first = world.subscribe(customer, pro, at=JANUARY, clock=clock)
    body = {"name": "again", "planId": pro, "customerId": customer, "startedAt": JANUARY, "testClockId": clock}
    again = world.api.post("/v0/subscriptions", body, expect=200)
    assert again["id"] == first["id"]
    assert again["name"] == "Sub"
    assert Invoice.objects.count() == 1


def test_another_plan_of_the_product_is_refused(world: World, clock: str) -> None:
    product = world.product()
    plans = [world.plan(product, [world.fee_price(product)]) for _ in range(2)]
    customer = world.customer()
    world.subscribe(customer, plans[0], at=JANUARY, clock=clock)
    body = {"name": "x", "planId": plans[1], "customerId": customer, "startedAt": JANUARY, "testClockId": clock}
    answer = world.api.post("/v0/subscriptions", body, expect=409)
    assert answer["code"] == "SUBSCRIPTION_EXISTS"
    available = world.api.get(f"/v0/plans/available?customerId={customer}")
    assert available["data"] == []


def test_without_upfront_charges_it_is_active_at_once(world: World, clock: str) -> None:
    product = world.product()
    plan = world.plan(product, [world.usage_price(world.metric(product))])
    subscription = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)
    assert subscription["status"] == "active"
    assert "payment" not in subscription
    assert [i["sequenceNumber"] for i in world.invoices(subscription["id"])] == [1]


def test_a_free_upfront_fee_is_paid_at_once(world: World, clock: str) -> None:
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "0")])
    subscription = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)
    assert subscription["status"] == "active"
    assert subscription["payment"]["status"] == "paid"
    assert subscription["payment"]["amount"] == "0"


def test_a_future_start_bills_nothing_before(world: World, clock: str, pro: str) -> None:
    subscription = world.subscribe(world.customer(), pro, at="2026-01-10T08:00:00Z", clock=clock)
    assert subscription["status"] == "pending_payment"
    assert world.invoices(subscription["id"]) == []
    world.advance(clock, "2026-01-10T07:59:59Z")
    assert world.invoices(subscription["id"]) == []
    world.advance(clock, "2026-01-10T08:00:00Z")
    started = world.api.get(f"/v0/subscriptions/{subscription['id']}")
    assert started["payment"]["amount"] == "49.00"
    assert world.invoices(subscription["id"])[0]["issuedAt"] == "2026-01-10T08:00:00Z"


def test_backdating_bills_from_now_by_default(world: World, pro: str) -> None:
    clock = world.clock("2026-04-10T00:00:00Z")
    customer = world.customer()
    subscription = world.subscribe(customer, pro, at=JANUARY, clock=clock)
    assert subscription["status"] == "active"
    assert subscription["billingStartsAt"] == "2026-04-10T00:00:00Z"
    world.send(customer, "2026-02-05T00:00:00Z", tokens=9_000_000)  # an elapsed period: not billed
    world.send(customer, "2026-04-05T00:00:00Z", tokens=1_000_000)  # the current one: due at its end
    world.advance(clock, "2026-05-01T02:00:00Z")
    first = world.invoices(subscription["id"])[0]
    assert (first["periodStart"], first["grandTotal"]) == ("2026-04-01T00:00:00Z", "51.00")


def test_backdating_can_bill_every_elapsed_period_on_one_invoice(world: World, pro: str) -> None:
    # The customer is on no test clock yet, so its events would be parked as much too late.
    Organization.objects.filter(pk=world.merchant.pk).update(event_days_back=36_500)
    clock = world.clock("2026-04-10T00:00:00Z")
    customer = world.customer()
    world.send(customer, "2026-02-05T00:00:00Z", tokens=1_000_000)
    world.send(customer, "2026-04-05T00:00:00Z", tokens=2_000_000)
    world.advance(clock, "2026-04-10T00:00:00Z")
    subscription = world.subscribe(customer, pro, at=JANUARY, clock=clock, elapsedPeriodBilling="per_period")
    # Four fees, January to April, and February's usage; April's is due at its end.
    assert subscription["payment"]["amount"] == "198.00"
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-05-01T02:00:00Z")
    assert world.invoices(subscription["id"])[1]["grandTotal"] == "53.00"


def test_more_than_a_year_back_is_refused(world: World, pro: str) -> None:
    clock = world.clock("2026-04-10T00:00:00Z")
    body = {
        "name": "x", "planId": pro, "customerId": world.customer(), "startedAt": "2025-04-09T00:00:00Z",
        "testClockId": clock, "elapsedPeriodBilling": "per_period",
    }  # fmt: skip
    assert world.api.post("/v0/subscriptions", body, expect=400)["errors"][0]["field"] == "startedAt"


def test_a_fixed_end_cuts_the_last_period_and_ends_the_subscription(world: World, clock: str) -> None:
    product = world.product()
    plan = world.plan(product, [world.fee_price(product, "28.00")])
    subscription = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock, endingAt="2026-02-15T00:00:00Z")
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-06-01T00:00:00Z")
    assert world.api.get(f"/v0/subscriptions/{subscription['id']}")["status"] == "terminated"
    zero, january, february = world.invoices(subscription["id"])
    # Half of February's 28 days, in advance; nothing after the end.
    assert [zero["grandTotal"], january["grandTotal"], february["grandTotal"]] == ["28.00", "14.00", "0.00"]
    assert february["status"] == "PAID"
    assert february["periodEnd"] == "2026-02-15T00:00:00Z"


def test_an_end_can_be_set_later(world: World, clock: str, pro: str) -> None:
    subscription = world.subscribe(world.customer(), pro, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    url = f"/v0/subscriptions/{subscription['id']}"
    world.api.patch(url, {"endingAt": "2025-12-01T00:00:00Z"}, expect=400)
    assert world.api.patch(url, {"endingAt": "2026-01-20T00:00:00Z"})["endingAt"] == "2026-01-20T00:00:00Z"
    assert world.invoices(subscription["id"])[1]["periodEnd"] == "2026-01-20T00:00:00Z"
    world.advance(clock, "2026-03-01T00:00:00Z")
    assert world.api.get(url)["status"] == "terminated"
    assert len(world.invoices(subscription["id"])) == 2


def test_terminating_before_payment_cancels_invoice_zero(world: World, clock: str, pro: str) -> None:
    subscription = world.subscribe(world.customer(), pro, at=JANUARY, clock=clock)
    world.api.post(f"/v0/subscriptions/{subscription['id']}/termination", {"reason": "no"}, expect=200)
    assert world.invoices(subscription["id"])[0]["status"] == "CANCELLED"
    assert PaymentSession.objects.get().status == "cancelled"
    world.api.post(
        f"/v2/invoices/{subscription['payment']['invoiceId']}/payment", {"method": "out_of_band"}, expect=409
    )


def test_unused_prepaid_time_is_credited_only_when_the_plan_says_so(world: World, clock: str) -> None:
    totals = []
    for credits in (False, True):
        product = world.product()
        plan = world.plan(product, [world.fee_price(product, "31.00")])
        subscription = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)
        world.pay(subscription["payment"]["invoiceId"])
        row = Subscription.objects.get(public_id=subscription["id"])
        row.plan.credit_unused_at_end = credits
        row.plan.save()
        body = {"status": "terminated", "terminatedAt": "2026-01-01T00:00:01Z"}
        assert world.api.patch(
            f"/v0/subscriptions/{subscription['id']}", {**body, "terminatedAt": JANUARY}, expect=400
        )
        totals.append(subscription["id"])
    world.advance(clock, "2026-01-22T00:00:00Z")
    amounts = []
    for subscription_id in totals:
        world.api.post(f"/v0/subscriptions/{subscription_id}/termination", {"reason": "x"}, expect=200)
        amounts.append(world.invoices(subscription_id)[1]["grandTotal"])
    # Ten of 31 days were left.
    assert amounts == ["0.00", "-10.00"]


def test_paying_on_the_hosted_page_activates(world: World, clock: str, pro: str) -> None:
    subscription = world.subscribe(world.customer(), pro, at=JANUARY, clock=clock)
    path = subscription["payment"]["checkoutUrl"].removeprefix("http://127.0.0.1:8000")
    browser = Client(enforce_csrf_checks=True)
    page = browser.get(path)
    assert b"$49.00" in page.content
    assert browser.post(path).status_code == 403  # a page elsewhere cannot pay for somebody
    token = page.content.decode().split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    assert browser.post(path, {"csrfmiddlewaretoken": token}).status_code == 302
    assert b"Paid" in browser.get(path).content
    assert world.api.get(f"/v0/subscriptions/{subscription['id']}")["status"] == "active"
    invoice = world.invoices(subscription["id"])[0]
    assert (invoice["status"], invoice["unpaidAmount"], invoice["paymentUrl"]) == ("PAID", "0.00", None)


def test_in_a_live_environment_there_is_no_sandbox(world: World, clock: str, pro: str) -> None:
    subscription = world.subscribe(world.customer(), pro, at=JANUARY, clock=clock)
    Organization.objects.filter(pk=world.merchant.pk).update(environment="live")
    path = f"/checkout/{subscription['payment']['paymentSessionId']}"
    page = Client().get(path)
    assert b"sandbox" not in page.content
    Client().post(path)
    assert Invoice.objects.get().status == "ISSUED"


def test_a_session_expires_and_a_new_link_replaces_it(world: World, clock: str, pro: str) -> None:
    subscription = world.subscribe(world.customer(), pro, at=JANUARY, clock=clock, sessionExpiryMinutes=30)
    old = PaymentSession.objects.get()
    world.advance(clock, "2026-01-01T00:31:00Z")
    old.refresh_from_db()
    assert old.status == "expired"
    assert b"no longer valid" in Client().get(f"/checkout/{old.public_id}").content
    assert Client().post(f"/checkout/{old.public_id}").status_code == 409
    invoice = subscription["payment"]["invoiceId"]
    links = [
        world.api.post(f"/v2/invoices/{invoice}/payment", {"method": "hosted_link"}, expect=200) for _ in range(2)
    ]
    assert links[0]["paymentSessionId"] != links[1]["paymentSessionId"]
    assert PaymentSession.objects.filter(status="pending").count() == 1
    Client().post(f"/checkout/{links[1]['paymentSessionId']}")
    assert world.api.get(f"/v0/subscriptions/{subscription['id']}")["status"] == "active"


def test_late_payment_catches_up_with_the_calendar(world: World, clock: str, pro: str) -> None:
    subscription = world.subscribe(world.customer(), pro, at=JANUARY, clock=clock)
    world.advance(clock, "2026-03-10T00:00:00Z")
    assert len(world.invoices(subscription["id"])) == 1
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-03-10T02:00:00Z")
    assert [(i["sequenceNumber"], i["status"]) for i in world.invoices(subscription["id"])] == [
        (0, "PAID"), (1, "ISSUED"), (2, "ISSUED"), (3, "ACTIVE"),
    ]  # fmt: skip


def test_yearly_fee_in_a_monthly_plan_is_billed_once_a_year(world: World, clock: str) -> None:
    product = world.product()
    yearly = world.fee_price(product, "120.00", billingCadence="P1Y")
    plan = world.plan(product, [yearly, world.usage_price(world.metric(product))])
    subscription = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2027-02-02T00:00:00Z")
    totals = [i["grandTotal"] for i in world.invoices(subscription["id"])]
    assert totals == ["120.00", *["0.00"] * 11, "120.00", "0.00", "0.00"]


def test_an_obligation_is_never_billed_in_part(world: World) -> None:
    product = world.product()
    owed = world.fee_price(product, "31.00", isObligation=True)
    plan = world.plan(product, [owed, world.fee_price(product, "31.00")], billingAnchor="2025-01-01T00:00:00Z")
    clock = world.clock("2026-01-22T00:00:00Z")
    subscription = world.subscribe(world.customer(), plan, at="2026-01-22T00:00:00Z", clock=clock)
    assert subscription["payment"]["amount"] == "10.00"
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert world.invoices(subscription["id"])[1]["grandTotal"] == "62.00"


def test_an_edited_price_bills_from_the_next_period_on(world: World, clock: str) -> None:
    product = world.product()
    fee, usage = world.fee_price(product, "10.00"), world.usage_price(world.metric(product), "0.01")
    plan = world.plan(product, [fee, usage])
    customer = world.customer()
    subscription = world.subscribe(customer, plan, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    for month in (1, 2):
        world.send(customer, f"2026-{month:02d}-10T00:00:00Z", tokens=100)
    world.advance(clock, "2026-01-15T00:00:00Z")
    world.api.patch(f"/v0/prices/{usage}", {"properties": {"unitPrice": "0.05"}})
    world.api.patch(f"/v0/prices/{fee}", {"properties": {"unitPrice": "20.00"}})
    world.advance(clock, "2026-03-02T00:00:00Z")
    # January's usage by the old price, February's fee by the new; then everything new.
    assert [i["grandTotal"] for i in world.invoices(subscription["id"])][:3] == ["10.00", "21.00", "25.00"]


def test_a_changed_price_set_reaches_floating_subscriptions_only(world: World, clock: str) -> None:
    product = world.product()
    old, new = world.fee_price(product, "10.00"), world.fee_price(product, "15.00")
    plan = world.plan(product, [old])
    ids = [
        world.subscribe(world.customer(), plan, at=JANUARY, clock=clock, versionPolicy=policy)
        for policy in ("floating", "pinned")
    ]
    for subscription in ids:
        world.pay(subscription["payment"]["invoiceId"])
    world.api.patch(f"/v0/plans/{plan}", {"prices": [new]})
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert [world.invoices(s["id"])[1]["grandTotal"] for s in ids] == ["15.00", "10.00"]
    versions = world.api.get(f"/v0/plans/{plan}/versions")["data"]
    assert [(v["versionNumber"], v["subscriptionCount"]) for v in versions] == [(2, 1), (1, 1)]


def test_every_state_change_is_announced(world: World, clock: str, pro: str) -> None:
    subscription = world.subscribe(world.customer(), pro, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    world.advance(clock, "2026-02-02T00:00:00Z")
    world.api.post(f"/v0/subscriptions/{subscription['id']}/termination", {"reason": "x"}, expect=200)
    told = list(OutboxEvent.objects.order_by("pk").values_list("event_type", flat=True))
    wanted: list[Any] = [
        "customer.created.v0", "subscription.created.v0", "invoice.issued.v0", "invoice.paid.v0",
        "subscription.activated.v0", "invoice.created.v0", "subscription.renewal_upcoming.v0",
        "subscription.renewed.v0", "invoice.created.v0", "invoice.issued.v0", "test_clock.advanced.v0",
        "subscription.cancelled.v0",
    ]  # fmt: skip
    assert [name for name in told if not name.startswith("plan.")] == wanted


def test_a_worker_that_comes_late_to_a_boundary_does_nothing(world: World, clock: str, pro: str) -> None:
    subscription = world.subscribe(world.customer(), pro, at=JANUARY, clock=clock)
    world.pay(subscription["payment"]["invoiceId"])
    row = Subscription.objects.get(public_id=subscription["id"])
    first = parse_instant("2026-02-01T00:00:00Z")
    # The second read the list of due subscriptions before the first one moved it.
    assert [len(cross_boundaries(subscription_ids=[row.pk], as_of=first)) for _ in range(2)] == [1, 0]
    row.refresh_from_db()
    assert row.period_number == 2


def test_a_subscription_may_let_its_invoices_wait_for_approval(world: World, clock: str, pro: str) -> None:
    made = world.subscribe(world.customer(), pro, at=JANUARY, clock=clock, autoApprove=False)
    assert (made["status"], made["autoApprove"]) == ("pending_payment", False)
    assert made["payment"]["status"] == "awaiting_approval"
    zero = made["payment"]["invoiceId"]
    assert world.api.get(f"/v2/invoices/{zero}")["status"] == "DRAFT"
    approve_invoice(invoice_id=Invoice.objects.get(public_id=zero).pk, as_of=parse_instant(JANUARY))
    world.pay(zero)
    world.advance(clock, "2026-02-02T00:00:00Z")
    assert [i["status"] for i in world.invoices(made["id"])] == ["PAID", "DRAFT", "ACTIVE"]


def test_approval_can_be_given_up_and_asked_for_again_for_the_open_invoice(
    world: World, clock: str, pro: str
) -> None:
    made = world.subscribe(world.customer(), pro, at=JANUARY, clock=clock)
    world.pay(made["payment"]["invoiceId"])
    path = f"/v0/subscriptions/{made['id']}"
    assert world.api.patch(path, {"autoApprove": False})["autoApprove"] is False
    world.advance(clock, "2026-02-02T00:00:00Z")
    # None: as the merchant does, which is to issue; what waits already goes on waiting.
    assert world.api.patch(path, {"autoApprove": None})["autoApprove"] is None
    world.advance(clock, "2026-03-02T00:00:00Z")
    assert [i["status"] for i in world.invoices(made["id"])] == ["PAID", "DRAFT", "ISSUED", "ACTIVE"]
    world.api.post(f"{path}/termination", {"reason": "over"}, expect=200)
    assert world.api.call("patch", path, {"autoApprove": True}, expect=409)
