"""Paused, resumed, cancelled and not cancelled after all: what was prepaid stays right to the cent."""

import threading
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.catalog.models import Plan
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.services.cancelling import schedule_cancellation
from apps.invoicing.services.pausing import pause_subscription, resume_subscription
from apps.kernel.errors import ConflictError
from apps.kernel.money import round_money
from apps.kernel.time import Cadence, format_instant
from apps.outbox.models import OutboxEvent
from apps.rating.reading import recompute
from apps.subscriptions.models import Subscription, SubscriptionPause
from apps.subscriptions.selectors.subscriptions import endless_grid_of, pauses_of
from tests.world import World, at, make_world

JANUARY = "2026-01-01T00:00:00Z"


@pytest.fixture
def clock(world: World) -> str:
    return world.clock(JANUARY)


def started(world: World, clock: str, *, credits: bool = False, plan: Any = None, **fee: Any) -> str:
    product = world.product()
    prices = [world.fee_price(product, "31.00", **fee), world.usage_price(world.metric(product), unit_price="1")]
    made = world.plan(product, prices, **(plan or {}))
    Plan.objects.filter(public_id=made).update(credit_unused_at_end=credits)
    subscription = world.subscribe(world.customer(), made, at=JANUARY, clock=clock)
    if "payment" in subscription:
        world.pay(subscription["payment"]["invoiceId"])
    return str(subscription["id"])


def do(world: World, clock: str, subscription: str, what: str, when: str | None = None) -> dict[str, Any]:
    if when is not None:
        world.advance(clock, when)
    found: dict[str, Any] = world.api.post(f"/v0/subscriptions/{subscription}/{what}", expect=200)
    return found


def totals(world: World, subscription: str) -> list[str]:
    return [i["grandTotal"] for i in world.invoices(subscription) if i["status"] in {"ISSUED", "PAID"}]


@pytest.mark.django_db
class TestPauses:
    def test_ten_days_of_a_month_are_given_back(self, world: World, clock: str) -> None:
        subscription = started(world, clock)
        assert do(world, clock, subscription, "pause", "2026-01-11T00:00:00Z")["pausedAt"] == "2026-01-11T00:00:00Z"
        assert world.invoices(subscription)[1]["grandTotal"] == "-21.00"  # as if it lasted
        assert "pausedAt" not in do(world, clock, subscription, "resume", "2026-01-21T00:00:00Z")
        line = InvoiceLine.objects.get(reference__startswith="unused:")
        assert (line.gross, recompute(line.provenance)) == (Decimal("-10.00"), Decimal("-10.00"))
        world.advance(clock, "2026-02-02T00:00:00Z")
        assert totals(world, subscription) == ["31.00", "21.00"]
        names = set(OutboxEvent.objects.values_list("event_type", flat=True))
        assert {"subscription.paused.v0", "subscription.resumed.v0"} <= names

    def test_a_pause_over_months_bills_no_renewal_and_then_the_rest(self, world: World, clock: str) -> None:
        subscription = started(world, clock)
        customer = world.api.get(f"/v0/subscriptions/{subscription}")["customerId"]
        do(world, clock, subscription, "pause", "2026-01-21T00:00:00Z")
        world.send(customer, "2026-02-10T00:00:00Z", tokens=7)
        world.advance(clock, "2026-03-05T00:00:00Z")
        assert world.invoices(subscription)[3]["grandTotal"] == "0.00"
        do(world, clock, subscription, "resume", "2026-03-22T00:00:00Z")
        world.advance(clock, "2026-04-02T00:00:00Z")
        # January gives 11 days back, February bills the usage alone, March its last ten days, and April's fee.
        assert totals(world, subscription) == ["31.00", "-11.00", "7.00", "41.00"]
        renewed = OutboxEvent.objects.filter(event_type="subscription.renewed.v0")
        assert [event.payload["periodStart"] for event in renewed] == ["2026-04-01T00:00:00Z"]

    def test_ten_times_is_ten_days(self, world: World, clock: str) -> None:
        subscription = started(world, clock)
        for day in range(2, 22, 2):
            do(world, clock, subscription, "pause", f"2026-01-{day:02}T00:00:00Z")
            do(world, clock, subscription, "resume", f"2026-01-{day + 1:02}T00:00:00Z")
        world.advance(clock, "2026-02-02T00:00:00Z")
        assert totals(world, subscription) == ["31.00", "21.00"]
        assert SubscriptionPause.objects.count() == 10
        assert InvoiceLine.objects.filter(kind="adjustment").count() == 1

    def test_a_pause_of_no_time_leaves_no_trace(self, world: World, clock: str) -> None:
        subscription = started(world, clock)
        do(world, clock, subscription, "pause", "2026-01-11T00:00:00Z")
        do(world, clock, subscription, "resume")
        assert not SubscriptionPause.objects.exists()
        assert not InvoiceLine.objects.filter(kind="adjustment").exists()

    def test_fees_in_arrears_leave_paused_time_out(self, world: World, clock: str) -> None:
        subscription = started(world, clock, paymentTerm="in_arrears")
        do(world, clock, subscription, "pause", "2026-01-11T00:00:00Z")
        do(world, clock, subscription, "resume", "2026-01-21T00:00:00Z")
        world.advance(clock, "2026-02-02T00:00:00Z")
        assert totals(world, subscription) == ["21.00"]
        line = InvoiceLine.objects.get(kind="fee")
        assert recompute(line.provenance) == line.gross == Decimal("21.00")

    def test_in_the_grace_period_the_waiting_invoice_bills_the_new_month(self, world: World, clock: str) -> None:
        subscription = started(world, clock)
        do(world, clock, subscription, "pause", "2026-02-01T00:15:00Z")
        do(world, clock, subscription, "resume", "2026-02-01T00:45:00Z")
        world.advance(clock, "2026-02-02T00:00:00Z")
        assert totals(world, subscription) == ["31.00", "30.98"]  # half an hour of 28 days is 0.02
        do(world, clock, subscription, "pause", "2026-02-15T00:00:00Z")
        world.advance(clock, "2026-03-02T00:00:00Z")
        assert totals(world, subscription) == ["31.00", "30.98", "-15.50"]

    def test_a_yearly_fee_in_a_monthly_plan(self, world: World, clock: str) -> None:
        subscription = started(world, clock, billingCadence="P1Y", plan={"proration": "day"})
        do(world, clock, subscription, "pause", "2026-03-01T00:00:00Z")
        world.advance(clock, "2026-05-02T00:00:00Z")
        do(world, clock, subscription, "resume", "2026-05-13T00:00:00Z")
        world.advance(clock, "2026-06-02T00:00:00Z")
        # 306 days are left on 1 March: 25.99; on 13 May 233 are billed again, 73 of 365 days are given back in sum.
        assert totals(world, subscription) == ["31.00", "0.00", "0.00", "-25.99", "0.00", "19.79"]
        assert sum(map(Decimal, totals(world, subscription))) == Decimal("24.80")

    @pytest.mark.parametrize(("extra", "plan"), [({"isObligation": True}, {}), ({}, {"proration": "none"})])
    def test_what_is_never_billed_in_part_is_not_given_back(
        self, world: World, clock: str, extra: dict[str, Any], plan: dict[str, Any]
    ) -> None:
        subscription = started(world, clock, plan=plan, **extra)
        do(world, clock, subscription, "pause", "2026-01-21T00:00:00Z")
        do(world, clock, subscription, "resume", "2026-02-11T00:00:00Z")
        world.advance(clock, "2026-03-02T00:00:00Z")
        # Nothing for February, which began in the pause; the next whole month is March.
        assert totals(world, subscription) == ["31.00", "0.00", "31.00"]

    @pytest.mark.parametrize("credits", [False, True])
    def test_terminated_while_paused(self, world: World, clock: str, credits: bool) -> None:
        subscription = started(world, clock, credits=credits)
        do(world, clock, subscription, "pause", "2026-01-11T00:00:00Z")
        world.advance(clock, "2026-01-21T00:00:00Z")
        world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "x"}, expect=200)
        assert do_refused(world, subscription, "resume") == "SUBSCRIPTION_NOT_ACTIVE"
        world.advance(clock, "2026-02-02T00:00:00Z")
        assert totals(world, subscription) == ["31.00", "-21.00"]

    def test_where_the_work_of_boundaries_is_late_the_bills_are_the_same(self, world: World, clock: str) -> None:
        sums = []
        for is_late in (False, True):
            own = world.clock(JANUARY)
            subscription = started(world, own)
            key = Subscription.objects.get(public_id=subscription).pk
            if not is_late:
                world.advance(own, "2026-02-10T00:00:00Z")
            pause_subscription(subscription_id=key, as_of=at("2026-02-10T00:00:00Z"))
            resume_subscription(subscription_id=key, as_of=at("2026-02-24T00:00:00Z"))
            world.advance(own, "2026-03-02T00:00:00Z")
            bills = totals(world, subscription)
            sums.append(sum(map(Decimal, bills)))
            # January's fee, half of February's, March's; late, February's bill knows of the pause from the start.
            assert bills == (["31.00", "15.50", "31.00"] if is_late else ["31.00", "31.00", "15.50"])
        assert sums == [Decimal("77.50")] * 2

    def test_what_cannot_be_is_said(self, world: World, clock: str) -> None:
        subscription = started(world, clock)
        assert do_refused(world, subscription, "resume") == "SUBSCRIPTION_NOT_PAUSED"
        do(world, clock, subscription, "pause")
        assert do_refused(world, subscription, "pause") == "SUBSCRIPTION_PAUSED"
        product = world.product()
        plan = world.plan(product, [world.fee_price(product)])
        unpaid = world.subscribe(world.customer(), plan, at=JANUARY, clock=clock)["id"]
        assert do_refused(world, unpaid, "pause") == "SUBSCRIPTION_NOT_ACTIVE"
        with pytest.raises(IntegrityError, match="subscription_changes_when_active"):
            Subscription.objects.filter(public_id=unpaid).update(paused_at=at(JANUARY))


def do_refused(world: World, subscription: str, what: str) -> str:
    return str(world.api.post(f"/v0/subscriptions/{subscription}/{what}", {"reason": "x"}, expect=409)["code"])


@pytest.mark.django_db
@given(
    minutes=st.lists(st.integers(1, 119 * 24 * 60), unique=True, min_size=2, max_size=20).map(sorted),
    cadence=st.sampled_from(["P1M", "P1Y", "P10D"]),
    basis=st.sampled_from(["second", "day"]),
)
@settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)
def test_every_prepaid_period_costs_its_awake_part(minutes: list[int], cadence: str, basis: str) -> None:
    """However often it is paused and resumed: each period of the fee sums up to its part, never below nothing."""
    world = make_world()
    clock = world.clock(JANUARY)
    public_id = started(world, clock, billingCadence=cadence, plan={"proration": basis})
    for step, minute in enumerate(minutes):
        when = format_instant(at(JANUARY) + timedelta(minutes=minute))
        do(world, clock, public_id, "resume" if step % 2 else "pause", when)
    world.advance(clock, "2026-05-01T02:00:00Z")
    subscription = Subscription.objects.select_related("plan").get(public_id=public_id)
    grid, pauses, step_of = endless_grid_of(subscription), pauses_of(subscription), Cadence.parse(cadence)
    billed: dict[datetime, Decimal] = {}
    lines = InvoiceLine.objects.filter(invoice__subscription=subscription, price_revision__fee__isnull=False)
    for line in lines.order_by("invoice__sequence_number", "pk"):
        slot = grid.slot_at(step_of, line.period_start)
        assert slot is not None
        billed[slot.whole.start] = billed.get(slot.whole.start, Decimal(0)) + line.gross
        assert 0 <= billed[slot.whole.start] <= 31
        assert recompute(line.provenance) == line.gross
    slot = grid.slot_at(step_of, subscription.started_at)
    while slot is not None and slot.service.start <= at("2026-05-01T00:00:00Z"):
        share = pauses.active_share(slot.service, slot.whole, basis=basis, tz="UTC")
        expected = round_money(Decimal(31) * share.numerator / share.denominator, "USD")
        assert billed.get(slot.whole.start, Decimal(0)) == expected, slot
        slot = grid.slot_at(step_of, slot.service.end)


@pytest.mark.django_db(transaction=True)
def test_of_pauses_at_once_one_wins() -> None:
    world = make_world()
    clock = world.clock(JANUARY)
    subscription = Subscription.objects.get(public_id=started(world, clock))
    gate, outcome = threading.Barrier(4), []

    def pause() -> None:
        gate.wait()
        try:
            pause_subscription(subscription_id=subscription.pk, as_of=at("2026-01-11T00:00:00Z"))
            outcome.append("paused")
        except ConflictError:
            outcome.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=pause) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome) == ["paused", "refused", "refused", "refused"]
    assert [line.gross for line in InvoiceLine.objects.filter(kind="adjustment")] == [Decimal("-21.00")]


def cancel(world: World, subscription: str, expect: int = 200, **extra: Any) -> dict[str, Any]:
    path = f"/v0/subscriptions/{subscription}/cancellation"
    found: dict[str, Any] = world.api.post(path, {"reason": "moves on", **extra}, expect=expect)
    return found


def undo(world: World, subscription: str, expect: int = 200) -> dict[str, Any]:
    found: dict[str, Any] = world.api.delete(f"/v0/subscriptions/{subscription}/cancellation", expect=expect)
    return found


def state(subscription: str) -> Any:
    """Give everything that a change could have left behind."""
    row = Subscription.objects.filter(public_id=subscription)
    invoices = Invoice.objects.filter(subscription__public_id=subscription).order_by("pk")
    lines = InvoiceLine.objects.filter(invoice__subscription__public_id=subscription).order_by("pk")
    plain = [list(rows.values()) for rows in (row, invoices, lines)]
    return [[{k: v for k, v in found.items() if k != "updated_at"} for found in rows] for rows in plain]


@pytest.mark.django_db
class TestCancellations:
    def test_at_the_end_of_the_period_by_default(self, world: World, clock: str) -> None:
        subscription = started(world, clock)
        world.advance(clock, "2026-01-11T00:00:00Z")
        answer = cancel(world, subscription)
        assert (answer["status"], answer["cancelsAt"]) == ("active", "2026-02-01T00:00:00Z")
        world.advance(clock, "2026-03-02T00:00:00Z")
        ended = world.api.get(f"/v0/subscriptions/{subscription}")
        assert (ended["status"], ended["terminatedAt"]) == ("terminated", "2026-02-01T00:00:00Z")
        assert (ended["terminationReason"], ended["terminatedBy"]) == ("moves on", world.owner.public_id)
        assert totals(world, subscription) == ["31.00", "0.00"]

    def test_with_the_period_of_today_where_the_work_of_boundaries_is_late(self, world: World, clock: str) -> None:
        row = Subscription.objects.get(public_id=started(world, clock))
        late = at("2026-02-10T00:00:00Z")
        cancelled = schedule_cancellation(subscription_id=row.pk, as_of=late, reason="x", by="y")
        assert cancelled.cancels_at == at("2026-03-01T00:00:00Z")
        world.advance(clock, "2026-03-02T00:00:00Z")
        assert totals(world, row.public_id) == ["31.00", "31.00", "0.00"]
        row = Subscription.objects.get(public_id=started(world, clock, plan={"billingAnchor": JANUARY}))
        Subscription.objects.filter(pk=row.pk).update(ending_at=at("2026-03-05T00:00:00Z"))
        with pytest.raises(ConflictError, match="term"):
            schedule_cancellation(subscription_id=row.pk, as_of=at("2027-01-01T00:00:00Z"), reason="x", by="y")

    @pytest.mark.parametrize(("credits", "last"), [(False, "0.00"), (True, "-21.00")])
    def test_on_a_date_gives_back_where_the_plan_says_so(
        self, world: World, clock: str, credits: bool, last: str
    ) -> None:
        subscription = started(world, clock, credits=credits)
        cancel(world, subscription, cancelsAt="2026-01-11T00:00:00Z")
        world.advance(clock, "2026-02-02T00:00:00Z")
        assert totals(world, subscription) == ["31.00", last]

    @pytest.mark.parametrize("credits", [False, True])
    @pytest.mark.parametrize("when", [None, "2026-01-21T00:00:00Z", "2026-03-11T00:00:00Z"])
    def test_undone_nothing_has_changed(self, world: World, clock: str, credits: bool, when: str | None) -> None:
        subscription = started(world, clock, credits=credits)
        world.advance(clock, "2026-01-11T00:00:00Z")
        before = state(subscription)
        cancel(world, subscription, **({"cancelsAt": when} if when else {}))
        assert state(subscription) != before
        undone = undo(world, subscription)
        assert "cancelsAt" not in undone
        assert "terminationReason" not in undone
        assert state(subscription) == before
        world.advance(clock, "2026-03-02T00:00:00Z")
        assert totals(world, subscription) == ["31.00", "31.00", "31.00"]

    def test_undone_after_a_bill_that_credited_the_rest(self, world: World, clock: str) -> None:
        """A yearly fee is credited on the first monthly bill, and billed again when the end is taken back."""
        subscription = started(world, clock, credits=True, billingCadence="P1Y", plan={"proration": "day"})
        cancel(world, subscription, cancelsAt="2026-03-15T00:00:00Z")
        world.advance(clock, "2026-02-02T00:00:00Z")
        assert totals(world, subscription) == ["31.00", "-24.80"]
        undo(world, subscription)
        world.advance(clock, "2026-03-02T00:00:00Z")
        assert totals(world, subscription) == ["31.00", "-24.80", "24.80"]
        # And ended once more: nothing is given back twice.
        cancel(world, subscription, cancelsAt="2026-03-15T00:00:00Z")
        world.advance(clock, "2026-03-16T00:00:00Z")
        assert sum(map(Decimal, totals(world, subscription))) == Decimal("6.20")

    def test_a_fixed_term_stays_when_its_cancellation_is_undone(self, world: World, clock: str) -> None:
        subscription = started(world, clock)
        world.api.patch(f"/v0/subscriptions/{subscription}", {"endingAt": "2026-02-15T00:00:00Z"})
        before = state(subscription)
        cancel(world, subscription, cancelsAt="2026-01-15T00:00:00Z")
        assert cancel(world, subscription)["cancelsAt"] == "2026-02-01T00:00:00Z"
        undo(world, subscription)
        assert state(subscription) == before
        field = cancel(world, subscription, expect=400, cancelsAt="2026-02-16T00:00:00Z")["errors"][0]["field"]
        assert field == "cancelsAt"

    def test_what_cannot_be_is_said(self, world: World, clock: str) -> None:
        subscription = started(world, clock)
        assert undo(world, subscription, expect=409)["code"] == "NOT_CANCELLED"
        assert cancel(world, subscription, expect=400, cancelsAt=JANUARY)["errors"][0]["field"] == "cancelsAt"
        assert cancel(world, subscription, expect=400, reason="")["errors"][0]["field"] == "reason"
        cancel(world, subscription)
        world.advance(clock, "2026-02-02T00:00:00Z")
        assert undo(world, subscription, expect=409)["code"] == "SUBSCRIPTION_NOT_ACTIVE"
        assert cancel(world, subscription, expect=409)["code"] == "SUBSCRIPTION_NOT_ACTIVE"

    def test_in_the_admin(self, world: World, clock: str) -> None:
        row = Subscription.objects.get(public_id=started(world, clock))
        client = Client()
        client.force_login(world.owner)

        def act(action: str, **sent: str) -> Subscription:
            path = f"/admin/subscriptions/subscription/{row.pk}/{action}/"
            assert client.get(path).status_code == 200
            assert client.post(path, {**sent, "_form_submitted": "1"}).status_code == 302
            row.refresh_from_db()
            return row

        assert act("cancel", reason="x", cancels_at="").cancels_at == at("2026-02-01T00:00:00Z")
        assert act("undo-cancellation").cancels_at is None
        assert act("cancel", reason="x", cancels_at="soon").cancels_at is None
        assert act("pause").paused_at == at(JANUARY)
        world.advance(clock, "2026-01-02T00:00:00Z")
        assert act("resume").paused_at is None
        page = client.get(f"/admin/subscriptions/subscription/{row.pk}/change/").content.decode()
        assert "Pauses that are over" in page
