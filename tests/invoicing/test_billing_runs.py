"""Billing runs: what they hold, what they say beforehand, what became of each invoice, and how two differ."""

from collections import Counter
from datetime import datetime
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.invoicing.models import BillingRun, BillingRunItem, Invoice, InvoiceLine
from apps.invoicing.services import billing_runs, issuing, lifecycle
from apps.invoicing.services.billing_runs import run_billing_runs
from apps.kernel.clock import wall_now
from apps.kernel.lifecycle import run_due
from apps.metering.services.merge import drain
from apps.organizations.models import Organization
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import Subscription
from tests.test_admin import browser, member
from tests.world import World, at

pytestmark = pytest.mark.django_db

SENT = {"_form_submitted": "1"}
JANUARY = "2026-01-01T00:00:00Z"
FEBRUARY, GRACE_OVER = at("2026-02-01T00:30:00Z"), at("2026-02-01T01:30:00Z")
MARCH = at("2026-03-01T00:30:00Z")


class Shop:
    """Customers on the wall clock, each with 10.00 a month in arrears and usage at 0.10."""

    def __init__(self, world: World, customers: int = 3) -> None:
        self.world = world
        # Usage of long ago counts, also on the wall clock.
        Organization.objects.filter(pk=world.merchant.pk).update(event_days_back=3650)
        product = world.product()
        prices = [
            world.fee_price(product, "10.00", paymentTerm="in_arrears"),
            world.usage_price(world.metric(product), "0.10"),
        ]
        self.plan = world.plan(product, prices)
        self.clock = world.clock(JANUARY)
        self.customers = [self.join() for _ in range(customers)]

    def join(self, start: str = JANUARY) -> str:
        customer = self.world.customer()
        subscription = self.world.subscribe(customer, self.plan, at=JANUARY, clock=self.clock)
        Subscription.objects.filter(public_id=subscription["id"]).update(test_clock=None)
        return customer

    def close(self, as_of: datetime) -> None:
        drain()
        lifecycle.run_boundaries(None, as_of)

    def plan_run(self, expect: int = 201, **body: Any) -> Any:
        return self.world.api.post("/v2/billingRuns", body, expect=expect)

    def act(self, run: Any, what: str, expect: int = 200, **body: Any) -> Any:
        return self.world.api.post(f"/v2/billingRuns/{run['id']}/{what}", body, expect=expect)

    def get(self, run: Any, what: str = "") -> Any:
        return self.world.api.get(f"/v2/billingRuns/{run['id']}{what}")

    def issued(self) -> int:
        return Invoice.objects.filter(number__isnull=False).exclude(sequence_number=0).count()


@pytest.fixture
def shop(world: World) -> Shop:
    shop = Shop(world)
    for customer, tokens in zip(shop.customers, (10, 20, 30), strict=True):
        world.send(customer, "2026-01-05T10:00:00Z", tokens=tokens)
    shop.close(FEBRUARY)
    return shop


def test_a_planned_run_holds_its_invoices_and_a_preview_stores_none(shop: Shop) -> None:
    run = shop.plan_run(name="January")
    assert (run["name"], run["status"], run["counts"], run["percent"]) == ("January", "planned", {"waiting": 3}, 0)
    assert run["createdBy"] == shop.world.owner.public_id
    before = Invoice.objects.get(subscription__customer__public_id=shop.customers[0], status="CLOSING").updated_at
    seen = shop.act(run, "preview")
    assert seen["totals"] == [{"currency": "USD", "done": "0.00", "expected": "36.00"}]
    assert seen["notPreviewed"] == 0
    assert [row["previewedAmount"] for row in shop.get(run, "/items")["data"]] == ["11.00", "12.00", "13.00"]
    assert not InvoiceLine.objects.exclude(invoice__sequence_number=0).exists()
    after = Invoice.objects.get(subscription__customer__public_id=shop.customers[0], status="CLOSING").updated_at
    assert before == after
    # The ordinary job leaves them alone, for as long as it takes.
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    assert shop.issued() == 0
    # No second run can have them.
    assert shop.plan_run(expect=409)["code"] == "NOTHING_TO_BILL"
    assert BillingRun.objects.count() == 1


def test_a_started_run_issues_what_it_previewed(shop: Shop) -> None:
    run = shop.plan_run()
    shop.act(run, "preview")
    assert shop.act(run, "start")["status"] == "running"
    assert shop.act(run, "start")["status"] == "running"
    # Their grace is not over yet.
    run_due(clock_id=None, until=FEBRUARY, in_simulated_time=False)
    assert (shop.issued(), shop.get(run)["counts"]) == (0, {"waiting": 3})
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    done = shop.get(run)
    assert (done["status"], done["counts"], done["percent"]) == ("completed", {"issued": 3}, 100)
    assert done["totals"] == [{"currency": "USD", "done": "36.00", "expected": "0.00"}]
    rows = shop.get(run, "/items")["data"]
    assert all(row["amount"] == row["previewedAmount"] for row in rows)
    told = OutboxEvent.objects.get(event_type="billing_run.completed.v0")
    assert told.payload["issued"] == 3
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    assert (shop.issued(), OutboxEvent.objects.filter(event_type="billing_run.completed.v0").count()) == (3, 1)
    for what in ("start", "pause", "cancel"):
        assert shop.act(run, what, expect=409)["code"] == "RUN_STATE"


def test_a_run_that_does_not_wait_for_grace_issues_at_once(shop: Shop) -> None:
    run = shop.plan_run(waitsForGrace=False)
    shop.act(run, "start")
    run_due(clock_id=None, until=FEBRUARY, in_simulated_time=False)
    assert (shop.issued(), shop.get(run)["status"]) == (3, "completed")


def test_a_run_pauses_after_the_group_and_goes_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shop.plan_run()
    shop.act(run, "start")
    monkeypatch.setattr(billing_runs, "GROUP", 1)
    inner = billing_runs.calculate_or_set_aside

    def pausing(**asked: Any) -> int:
        moved = inner(**asked)
        shop.act(run, "pause")
        return moved

    monkeypatch.setattr(billing_runs, "calculate_or_set_aside", pausing)
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    paused = shop.get(run)
    assert (paused["status"], paused["counts"], paused["percent"]) == ("paused", {"issued": 1, "waiting": 2}, 33)
    assert shop.issued() == 1
    monkeypatch.setattr(billing_runs, "calculate_or_set_aside", inner)
    shop.act(run, "start")
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    assert (shop.get(run)["counts"], shop.issued()) == ({"issued": 3}, 3)


def test_what_fails_says_why_and_is_tried_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shop.plan_run()
    bad = Invoice.objects.filter(status="CLOSING").order_by("pk")[1]
    inner = issuing.target_lines

    def failing(invoices: Any, **asked: Any) -> Any:
        if any(invoice.pk == bad.pk for invoice in invoices):
            raise ValueError("the rate is missing")
        return inner(invoices, **asked)

    monkeypatch.setattr(issuing, "target_lines", failing)
    monkeypatch.setattr(billing_runs, "target_lines", failing)
    shop.act(run, "preview")
    said = {row["invoiceId"]: row for row in shop.get(run, "/items")["data"]}
    assert said[bad.public_id]["reason"] == "ValueError: the rate is missing"
    assert Counter(row["previewedAmount"] for row in said.values()) == {"11.00": 1, None: 1, "13.00": 1}
    shop.act(run, "start")
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    done = shop.get(run)
    assert (done["status"], done["counts"]) == ("completed", {"issued": 2, "failed": 1})
    [failed] = shop.get(run, "/items?status=failed")["data"]
    assert (failed["invoiceId"], failed["reason"]) == (bad.public_id, "ValueError: the rate is missing")
    monkeypatch.setattr(issuing, "target_lines", inner)
    assert shop.act(run, "retry")["status"] == "running"
    # It is due from the moment at which somebody asked.
    run_billing_runs(None, wall_now())
    assert (shop.get(run)["counts"], shop.get(run)["status"]) == ({"issued": 3}, "completed")
    [again] = [row for row in shop.get(run, "/items")["data"] if row["invoiceId"] == bad.public_id]
    assert (again["attempts"], again["reason"], again["amount"]) == (2, None, "12.00")
    assert shop.act(run, "retry", expect=409)["code"] == "NOTHING_FAILED"


def test_what_another_run_has_taken_is_not_tried_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shop.plan_run()
    shop.act(first, "preview")
    bad, other = Invoice.objects.filter(status="CLOSING").order_by("pk")[:2]
    inner = issuing.target_lines

    def failing(invoices: Any, **asked: Any) -> Any:
        if {bad.pk, other.pk} & {invoice.pk for invoice in invoices}:
            raise ValueError("the rate is missing")
        return inner(invoices, **asked)

    monkeypatch.setattr(issuing, "target_lines", failing)
    shop.act(first, "start")
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    assert shop.get(first)["counts"] == {"issued": 1, "failed": 2}
    # What failed came to nothing, however much was expected.
    issuing.retry_failed(invoice_id=bad.pk, as_of=GRACE_OVER)
    second = shop.plan_run(name="Again")
    shop.act(second, "preview")
    compared = {row["customerId"]: row["change"] for row in shop.get(second, "/comparison")["data"]}
    assert Counter(compared.values()) == {"missing": 2, "unknown": 1}
    shop.act(first, "retry")
    assert shop.get(first)["counts"] == {"issued": 1, "failed": 1, "waiting": 1}
    assert shop.get(second)["counts"] == {"waiting": 1}
    monkeypatch.setattr(issuing, "target_lines", inner)
    run_billing_runs(None, wall_now())
    assert shop.get(first)["counts"] == {"issued": 2, "failed": 1}
    assert shop.act(first, "retry", expect=409)["code"] == "NOTHING_FAILED"
    shop.act(second, "start")
    run_billing_runs(None, wall_now())
    assert (shop.get(second)["counts"], shop.issued()) == ({"issued": 1}, 3)
    # It was done there, and the first run notes so.
    shop.act(first, "retry")
    run_billing_runs(None, wall_now())
    assert (shop.get(first)["counts"], shop.issued()) == ({"issued": 3}, 3)


def test_a_cancelled_run_leaves_its_invoices_to_the_ordinary_job(shop: Shop) -> None:
    run = shop.plan_run()
    assert shop.act(run, "cancel")["counts"] == {"released": 3}
    assert shop.act(run, "cancel")["status"] == "cancelled"
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    assert shop.issued() == 3
    assert shop.get(run)["counts"] == {"released": 3}


def test_a_run_is_for_what_its_filters_say(shop: Shop) -> None:
    other = shop.world.product()
    plan = shop.world.plan(other, [shop.world.fee_price(other, paymentTerm="in_arrears")])
    for refused in ({"closedUntil": "2999-01-01T00:00:00Z"}, {"customerIds": ["cus_nobody"]}):
        assert shop.plan_run(expect=400, **refused)["code"]
    assert shop.plan_run(expect=409, closedUntil="2026-01-31T23:59:59Z")["code"] == "NOTHING_TO_BILL"
    assert shop.plan_run(expect=409, planId=plan)["code"] == "NOTHING_TO_BILL"
    shop.plan_run(expect=404, planId="plan_nobody")
    some = shop.plan_run(customerIds=shop.customers[:1])
    rest = shop.plan_run(planId=shop.plan)
    assert (some["itemCount"], rest["itemCount"]) == (1, 2)
    # What no run holds is billed as ever.
    shop.act(some, "start")
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    assert (shop.issued(), shop.get(some)["status"], shop.get(rest)["status"]) == (1, "completed", "planned")


def test_two_runs_are_compared_by_subscription(shop: Shop) -> None:
    first = shop.plan_run(name="January")
    assert shop.world.api.get(f"/v2/billingRuns/{first['id']}/comparison", expect=409)["code"] == "NO_EARLIER_RUN"
    shop.act(first, "start")
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    joined = shop.join()
    gone = Subscription.objects.get(customer__public_id=shop.customers[2])
    shop.world.send(shop.customers[0], "2026-02-05T10:00:00Z", tokens=50)
    shop.world.send(shop.customers[1], "2026-02-05T10:00:00Z", tokens=5)
    shop.close(MARCH)
    # The new customer's January, and nothing of the one whom another run holds.
    shop.plan_run(name="Apart", customerIds=[gone.customer.public_id])
    second = shop.plan_run(name="February")
    shop.act(second, "preview")
    found = shop.get(second, "/comparison")
    assert (found["earlierBillingRunId"], found["pagination"]["total"]) == (first["id"], 4)
    said = {row["customerId"]: (row["change"], row["before"], row["now"], row["difference"]) for row in found["data"]}
    assert said == {
        shop.customers[0]: ("up", "11.00", "15.00", "4.00"),
        shop.customers[1]: ("down", "12.00", "10.50", "-1.50"),
        shop.customers[2]: ("missing", "13.00", None, "-13.00"),
        joined: ("new", None, "10.00", "10.00"),
    }
    assert [row["change"] for row in found["data"]] == ["missing", "new", "up", "down"]
    one = shop.get(second, "/comparison?limit=1&offset=1")
    assert [row["change"] for row in one["data"]] == ["new"]


def test_only_the_customers_of_a_run_are_compared(shop: Shop) -> None:
    first = shop.plan_run(name="January")
    shop.act(first, "start")
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    shop.close(MARCH)
    some = shop.plan_run(name="One", customerIds=shop.customers[:1], waitsForGrace=False)
    shop.act(some, "preview")
    found = shop.get(some, "/comparison")
    assert found["earlierBillingRunId"] == first["id"]
    assert [row["customerId"] for row in found["data"]] == shop.customers[:1]
    assert found["pagination"]["total"] == 1
    # Beside a run of one customer all others would look new.
    shop.act(some, "start")
    run_billing_runs(None, MARCH)
    assert shop.get(some)["status"] == "completed"
    rest = shop.plan_run(name="Rest")
    assert shop.get(rest, "/comparison")["earlierBillingRunId"] == first["id"]


def test_an_empty_filter_is_not_everybody(shop: Shop) -> None:
    refused = shop.plan_run(expect=400, customerIds=[])
    assert [error["field"] for error in refused["errors"]] == ["customerIds"]
    assert "leave it out for all" in refused["errors"][0]["message"]
    assert not BillingRun.objects.exists()


def test_a_result_stays_as_it_was_noted(shop: Shop) -> None:
    run = shop.plan_run(waitsForGrace=False)
    shop.act(run, "start")
    run_billing_runs(None, FEBRUARY)
    item = BillingRunItem.objects.order_by("pk").first()
    assert item is not None
    with pytest.raises(DatabaseError), transaction.atomic():
        BillingRunItem.objects.filter(pk=item.pk).update(amount=1)
    with pytest.raises(DatabaseError), transaction.atomic():
        item.delete()
    # What happens to the invoice later is no result of the run.
    shop.world.api.post(f"/v2/invoices/{item.invoice.public_id}/void", {"reason": "Wrong"}, expect=200)
    assert shop.get(run)["counts"] == {"issued": 3}


def test_the_admin_plans_previews_starts_and_compares(shop: Shop) -> None:
    client = browser(member(shop.world, "finance"))
    add = reverse("admin:invoicing_billingrun_add")
    assert client.get(add).status_code == 200
    body = {
        "organization": shop.world.merchant.pk, "name": "January", "plan": "", "closed_until_0": "2026-02-01",
        "closed_until_1": "00:00:00", "waits_for_grace": "on",
    }  # fmt: skip
    made = client.post(add, body, follow=True)
    assert made.status_code == 200
    run = BillingRun.objects.get()
    assert (run.name, run.item_count) == ("January", 3)
    # Nothing is left for a second one, which is said and not stored.
    again = client.post(add, body)
    assert "No closed period waits" in again.content.decode()
    assert BillingRun.objects.count() == 1
    page = reverse("admin:invoicing_billingrun_change", args=[run.pk])
    for what in ("preview", "start"):
        client.post(reverse(f"admin:invoicing_billingrun_{what}", args=[run.pk]), SENT)
    shown = client.get(page).content.decode()
    assert "36.00" in shown
    assert "3 waiting" in shown
    run_due(clock_id=None, until=GRACE_OVER, in_simulated_time=False)
    assert "3 issued" in client.get(page).content.decode()
    assert "Completed" in client.get(reverse("admin:invoicing_billingrun_changelist")).content.decode()
    items = client.get(reverse("admin:invoicing_billingrunitem_changelist") + f"?run__id__exact={run.pk}")
    assert items.content.decode().count("Issued") >= 3
    looking = browser(member(shop.world, "viewer"))
    assert looking.get(page).status_code == 200
    assert looking.post(reverse("admin:invoicing_billingrun_start", args=[run.pk]), SENT).status_code == 403


def test_a_list_of_runs_reads_how_far_they_are_at_once(shop: Shop) -> None:
    client = browser(member(shop.world, "viewer"))
    address = reverse("admin:invoicing_billingrun_changelist")
    client.get(address)
    shop.plan_run(name="First", customerIds=shop.customers[:1])
    with CaptureQueriesContext(connection) as one:
        client.get(address)
    with CaptureQueriesContext(connection) as told_one:
        shop.world.api.get("/v2/billingRuns")
    for customer in shop.customers[1:]:
        shop.plan_run(customerIds=[customer])
    with CaptureQueriesContext(connection) as three:
        assert client.get(address).content.decode().count("1 waiting") == 3
    assert len(three) == len(one)
    with CaptureQueriesContext(connection) as told_three:
        told = shop.world.api.get("/v2/billingRuns")["data"]
    assert len(told_three) == len(told_one)
    assert [(run["counts"], run["notPreviewed"]) for run in told] == [({"waiting": 1}, 1)] * 3
