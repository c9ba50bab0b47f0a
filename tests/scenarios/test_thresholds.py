"""Billing thresholds through a month, as a calendar; every amount is worked out by hand."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.invoicing.models import Invoice, InvoiceLine, PassedThreshold, UsageLook
from apps.invoicing.services import watching
from apps.invoicing.services.watching import look_at_usage
from apps.invoicing.tasks import look_at_open_usage
from apps.metering.services.merge import drain
from apps.outbox.models import OutboxEvent
from apps.rating.reading import recompute
from apps.subscriptions.models import Subscription
from tests.concurrency import at_once
from tests.world import World, make_world

pytestmark = pytest.mark.django_db

THRESHOLDS = {"amounts": ["100", "500"], "every": "500"}


class Case:
    """A subscription from 1 January: 31.00 a month in arrears and usage at 1.00 a token unless said otherwise."""

    def __init__(self, world: World, thresholds: dict[str, Any] | None = THRESHOLDS, **price: Any) -> None:
        self.world = world
        product = world.product()
        self.usage = world.usage_price(world.metric(product), **{"unit_price": "1", **price})
        fee = world.fee_price(product, "31.00", paymentTerm="in_arrears")
        self.plan = world.plan(product, [self.usage, fee], billingThresholds=thresholds)
        self.customer, self.clock = world.customer(), world.clock("2026-01-01T00:00:00Z")
        self.id = world.subscribe(self.customer, self.plan, at="2026-01-01T00:00:00Z", clock=self.clock)["id"]

    def use(self, moment: str, tokens: float, key: str | None = None) -> None:
        self.world.send(self.customer, moment, key=key, tokens=tokens)
        drain()

    def look(self) -> int:
        return look_at_usage()

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)

    @property
    def early(self) -> list[tuple[int, int, Decimal]]:
        rows = Invoice.objects.filter(subscription__public_id=self.id, part__gt=0).order_by("sequence_number", "part")
        return [(row.sequence_number, row.part, row.grand_total) for row in rows]

    def own(self, number: int) -> Invoice:
        return Invoice.objects.get(subscription__public_id=self.id, sequence_number=number, part=0)

    @property
    def passed(self) -> list[tuple[int, Decimal, Decimal]]:
        rows = PassedThreshold.objects.filter(subscription__public_id=self.id).order_by("pk")
        return [(row.period_number, row.threshold, row.amount) for row in rows]


def test_a_month_of_thresholds_and_late_usage_after_it(world: World) -> None:
    case = Case(world)
    case.advance("2026-01-03T00:00:00Z")
    case.use("2026-01-02T12:00:00Z", 99)
    case.look()
    assert case.early == []
    # The amount itself is passed by reaching it.
    case.use("2026-01-02T13:00:00Z", 1)
    case.look()
    assert case.early == [(1, 1, 100)]
    case.advance("2026-01-10T00:00:00Z")
    case.use("2026-01-09T00:00:00Z", 399)
    case.look()
    assert len(case.early) == 1
    # From 499 to 1100: two amounts are passed, by one bill of the 1000 that were not billed.
    case.use("2026-01-09T12:00:00Z", 601)
    case.look()
    assert case.early[1:] == [(1, 2, 1000)]
    # The recurring 1500 counts from the last named amount, 500.
    case.advance("2026-01-20T00:00:00Z")
    case.use("2026-01-19T00:00:00Z", 400)
    case.look()
    assert case.early[2:] == [(1, 3, 400)]
    assert case.passed == [(1, 100, 100), (1, 500, 1100), (1, 1000, 1100), (1, 1500, 1500)]
    case.use("2026-01-25T00:00:00Z", 60)
    case.advance("2026-02-02T00:00:00Z")
    # The period's own bill: 60 tokens that no bill had, and the fee.
    assert (case.own(1).status, case.own(1).grand_total) == ("ISSUED", 91)
    # Late usage of January is on February's bill and passes no threshold of either period.
    case.use("2026-01-30T00:00:00Z", 700)
    case.look()
    assert len(case.early) == 3
    case.use("2026-02-02T00:00:00Z", 250)
    case.advance("2026-03-02T00:00:00Z")
    # February: 250 early, then 700 late and the fee of 31.
    assert case.early[3:] == [(2, 1, 250)]
    assert case.own(2).grand_total == 731
    assert [row[:2] for row in case.passed[4:]] == [(2, 100)]
    for line in InvoiceLine.objects.filter(invoice__subscription__public_id=case.id):
        assert recompute(line.provenance) == line.gross
    events = OutboxEvent.objects.filter(event_type="billing_threshold.passed.v0").order_by("pk")
    first = Invoice.objects.get(subscription__public_id=case.id, sequence_number=1, part=1)
    assert events[0].payload == {
        "subscriptionId": case.id, "periodNumber": 1, "threshold": "100", "amount": "100", "currency": "USD",
        "invoiceId": first.public_id,
    }  # fmt: skip
    assert len(events) == 5


def test_the_clock_itself_looks_before_it_moves_on(world: World) -> None:
    case = Case(world)
    case.advance("2026-01-10T00:00:00Z")
    world.send(case.customer, "2026-01-09T00:00:00Z", tokens=150)
    case.advance("2026-02-02T00:00:00Z")
    (early,) = Invoice.objects.filter(part=1)
    assert early.issued_at is not None
    assert early.issued_at.isoformat() == "2026-01-10T00:00:00+00:00"
    assert (early.grand_total, case.own(1).grand_total) == (150, 31)


def test_a_volume_price_changes_its_tier_between_two_bills(world: World) -> None:
    tiers = {"tiers": [{"upTo": "300", "unitPrice": "1.00"}, {"upTo": None, "unitPrice": "0.60"}]}
    case = Case(world, {"amounts": ["200"]}, model="volume", properties=tiers)
    case.use("2026-01-05T00:00:00Z", 250)
    case.look()
    assert case.early == [(1, 1, 250)]
    # 350 × 0.60 = 210.00: 40.00 less than was billed, taken off the fee of 31.00; 9.00 are left for February.
    case.use("2026-01-20T00:00:00Z", 100)
    case.look()
    case.advance("2026-02-02T00:00:00Z")
    assert case.own(1).grand_total == 0
    case.use("2026-02-10T00:00:00Z", 10)
    case.advance("2026-03-02T00:00:00Z")
    assert case.own(2).grand_total == 31 + 10 - 9


def test_a_void_does_not_bill_a_threshold_again(world: World) -> None:
    case = Case(world)
    case.use("2026-01-05T00:00:00Z", 150, key="a")
    case.look()
    world.api.post("/v0/events/void", {"reason": "test", "idempotencyKeys": ["a"]}, expect=200)
    case.look()
    case.use("2026-01-06T00:00:00Z", 120)
    case.look()
    assert case.early == [(1, 1, 150)]
    case.advance("2026-02-02T00:00:00Z")
    # 120 are due of which 150 are billed: 30 off the fee.
    assert case.own(1).grand_total == 1


def test_thresholds_of_a_subscription_replace_those_of_its_plan(world: World) -> None:
    case = Case(world)
    path = f"/v0/subscriptions/{case.id}/billingThresholds"
    case.use("2026-01-05T00:00:00Z", 80)
    case.look()
    world.api.patch(path, {"billingThresholds": {"every": "50"}})
    case.look()
    # At once, though no usage came: 50 is passed.
    assert case.early == [(1, 1, 80)]
    found = world.api.get(path)
    assert found["billingThresholds"] == {"amounts": [], "every": "50", "scope": "period"}
    assert (found["setOn"], found["usageAmount"]) == ("subscription", "80.00")
    assert found["progress"] == [{"threshold": "100", "ratio": "0.6"}]
    world.api.patch(path, {"billingThresholds": {"amounts": [], "every": None}}, expect=400)
    world.api.patch(path, {}, expect=400)
    world.api.delete(path, expect=200)
    case.use("2026-01-06T00:00:00Z", 30)
    case.look()
    assert case.early[1:] == [(1, 2, 30)]
    assert world.api.get(path)["setOn"] == "plan"
    world.api.patch(path, {"billingThresholds": None})
    case.use("2026-01-07T00:00:00Z", 1000)
    case.look()
    assert len(case.early) == 2
    assert world.api.get(path)["billingThresholds"] is None


def test_thresholds_change_with_the_version_of_the_plan(world: World) -> None:
    case = Case(world, None)
    case.use("2026-01-05T00:00:00Z", 800)
    assert case.look() == 0
    answer = world.api.patch(f"/v0/plans/{case.plan}", {"billingThresholds": {"amounts": ["500"]}})
    assert answer["billingThresholds"] == {"amounts": ["500"], "every": None, "scope": "period"}
    case.look()
    # The open period goes by the version that it opened with.
    assert case.early == []
    case.advance("2026-02-05T00:00:00Z")
    case.use("2026-02-04T00:00:00Z", 500)
    case.look()
    assert case.early == [(2, 1, 500)]
    versions = world.api.get(f"/v0/plans/{case.plan}/versions")["data"]
    assert [(row["versionNumber"], row["billingThresholds"] is None) for row in versions] == [(2, False), (1, True)]
    # The same again is no new version.
    world.api.patch(f"/v0/plans/{case.plan}", {"billingThresholds": {"amounts": ["500.00"]}, "name": "Other"})
    assert len(world.api.get(f"/v0/plans/{case.plan}/versions")["data"]) == 2


def test_lifetime_thresholds_pass_once(world: World) -> None:
    case = Case(world, {"amounts": ["100", "250"], "scope": "lifetime"})
    case.use("2026-01-05T00:00:00Z", 90)
    case.look()
    # February begins while January waits for its grace; both count.
    case.advance("2026-02-01T00:30:00Z")
    assert case.own(1).status == "CLOSING"
    case.use("2026-02-01T00:10:00Z", 20)
    case.look()
    assert case.early == [(2, 1, 20)]
    case.advance("2026-02-10T00:00:00Z")
    case.use("2026-02-09T00:00:00Z", 150)
    case.look()
    assert case.early == [(2, 1, 20), (2, 2, 150)]
    assert case.passed == [(0, 100, 110), (0, 250, 260)]
    case.advance("2026-03-10T00:00:00Z")
    case.use("2026-03-09T00:00:00Z", 500)
    case.look()
    assert len(case.early) == 2


def test_only_usage_that_changed_is_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "OVERLAP", watching.timedelta(0))
    case, other = Case(world), Case(make_world())
    assert case.look() == 2
    assert case.look() == 0
    case.use("2026-01-05T00:00:00Z", 10)
    looked = UsageLook.objects.get(subscription__public_id=other.id).looked_at
    assert case.look() == 1
    assert UsageLook.objects.get(subscription__public_id=other.id).looked_at == looked


def test_one_that_cannot_be_looked_at_keeps_nobody_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = Case(world), Case(make_world())
    bad.use("2026-01-05T00:00:00Z", 100)
    good.use("2026-01-05T00:00:00Z", 100)
    row = Subscription.objects.get(public_id=bad.id)
    real = watching.store_early_bills

    def fail(bills: Any, **rest: Any) -> Any:
        if any(bill.invoice.subscription_id == row.pk for bill in bills):
            raise ValueError("impossible")
        return real(bills, **rest)

    monkeypatch.setattr(watching, "store_early_bills", fail)
    assert bad.look() == 2
    assert (bad.early, good.early) == ([], [(1, 1, 100)])
    assert UsageLook.objects.get(subscription=row).problem == "ValueError: impossible"
    monkeypatch.undo()
    bad.look()
    assert bad.early == [(1, 1, 100)]
    assert UsageLook.objects.get(subscription=row).problem == ""


@pytest.mark.parametrize("step", ["store_early_bills", "_store_passed", "fire_alerts", "_store_looks"])
def test_a_job_that_is_killed_between_two_steps_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    case = Case(world)
    case.use("2026-01-05T00:00:00Z", 100)
    real = getattr(watching, step)

    class Killed(BaseException):
        pass

    for is_after in (False, True):

        def die(*args: Any, is_after: bool = is_after, **rest: Any) -> Any:
            if is_after:
                real(*args, **rest)
            raise Killed

        monkeypatch.setattr(watching, step, die)
        with pytest.raises(Killed):
            case.look()
        monkeypatch.undo()
        assert (case.early, case.passed) == ([], [])
        assert not OutboxEvent.objects.filter(event_type="billing_threshold.passed.v0").exists()
    case.look()
    assert case.early == [(1, 1, 100)]
    assert Invoice.objects.get(part=1).number is not None


@pytest.mark.django_db(transaction=True)
def test_jobs_at_once_make_one_bill() -> None:
    case = Case(make_world())
    case.use("2026-01-05T00:00:00Z", 600)
    for _ in range(3):
        at_once([case.look] * 4)
    assert case.early == [(1, 1, 600)]
    assert [row[1] for row in case.passed] == [100, 500]
    numbers = Invoice.objects.filter(number__isnull=False).values_list("number", flat=True)
    assert len(numbers) == len(set(numbers)) == 1


@pytest.mark.django_db(transaction=True)
def test_one_worker_looks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(make_world())
    real, others = watching.look_at_usage, []

    def look() -> int:
        others.extend(at_once([watching.look_at_usage_alone]))
        return real()

    monkeypatch.setattr(watching, "look_at_usage", look)
    assert look_at_open_usage() == 1
    assert others == [0]
    monkeypatch.undo()
    case.use("2026-01-05T00:00:00Z", 5)
    assert look_at_open_usage() == 1


@pytest.mark.parametrize(
    ("sent", "fields"),
    [
        ([], ["billingThresholds"]),
        ({}, ["billingThresholds.amounts"]),
        ({"amounts": ["500", "100"]}, ["billingThresholds.amounts"]),
        ({"amounts": ["100", "100"]}, ["billingThresholds.amounts"]),
        ({"amounts": ["0"], "every": "-1"}, ["billingThresholds.amounts.0", "billingThresholds.every"]),
        ({"amounts": ["0.001"]}, ["billingThresholds.amounts.0"]),
        ({"amounts": [100]}, ["billingThresholds.amounts.0"]),
        ({"amounts": ["NaN"], "scope": "week"}, ["billingThresholds.amounts.0", "billingThresholds.scope"]),
        ({"every": "5", "step": "5"}, ["billingThresholds.step"]),
    ],
)
def test_malformed_thresholds_are_named(world: World, sent: Any, fields: list[str]) -> None:
    product = world.product()
    body = {"currency": "USD", "merchantId": world.id, "name": "P", "productId": product, "billingCadence": "P1M"}
    answer = world.api.post("/v0/plans", {**body, "billingThresholds": sent}, expect=400)
    assert sorted(problem["field"] for problem in answer["errors"]) == sorted(fields)


def test_the_number_of_queries_does_not_grow_with_the_subscriptions(world: World) -> None:
    cases: list[Case] = []
    counts = []
    for more in (2, 6):
        cases += [Case(make_world()) for _ in range(more)]
        for tokens in (10, 5):
            for case in cases:
                case.use("2026-01-05T00:00:00Z", tokens)
            with CaptureQueriesContext(connection) as queries:
                assert look_at_usage() == len(cases)
        counts.append(len(queries))
    assert counts[0] == counts[1] < 40
