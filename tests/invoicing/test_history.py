"""What the history keeps of invoices and subscriptions: what somebody changed, not that time passed."""

from datetime import datetime

import pytest

from apps.invoicing.models import Invoice
from apps.subscriptions.models import Subscription
from tests.world import World

pytestmark = pytest.mark.django_db
AT = "2026-01-01T00:00:00Z"


def kept_of(row: Invoice | Subscription) -> list[tuple[str, str]]:
    events = type(row).pgh_event_model.objects.filter(pgh_obj_id=row.pk)  # type: ignore[union-attr]
    return list(events.order_by("pgh_id").values_list("pgh_label", "status"))


def test_passing_into_the_next_period_is_no_change_and_what_is_issued_is(world: World) -> None:
    clock = world.clock(AT)
    product = world.product()
    made = world.subscribe(world.customer(), world.plan(product, [world.fee_price(product)]), at=AT, clock=clock)
    world.pay(made["payment"]["invoiceId"])
    subscription = Subscription.objects.get()
    before = kept_of(subscription)
    world.advance(clock, "2026-02-01T00:00:00Z")
    subscription.refresh_from_db()
    assert subscription.period_end == datetime.fromisoformat("2026-03-01T00:00:00Z")
    assert kept_of(subscription) == before
    first = Invoice.objects.get(sequence_number=1)
    assert first.status == "CLOSING"
    assert kept_of(first) == [("insert", "ACTIVE")]
    world.advance(clock, "2026-02-01T02:00:00Z")
    first.refresh_from_db()
    assert kept_of(first)[-1] == ("update", first.status)
    assert first.status in ("ISSUED", "PAID")
    latest = Invoice.pgh_event_model.objects.filter(pgh_obj_id=first.pk).latest("pgh_id")  # type: ignore[attr-defined]
    assert latest.next_action_at is None
    assert latest.number == first.number


def test_what_somebody_changes_is_kept_with_the_period_it_was_changed_in(world: World) -> None:
    clock = world.clock(AT)
    product = world.product()
    made = world.subscribe(world.customer(), world.plan(product, [world.fee_price(product)]), at=AT, clock=clock)
    world.pay(made["payment"]["invoiceId"])
    world.advance(clock, "2026-02-01T00:00:00Z")
    subscription = Subscription.objects.get()
    before = len(kept_of(subscription))
    subscription.payment_term_days += 7
    subscription.save()
    assert len(kept_of(subscription)) == before + 1
    latest = Subscription.pgh_event_model.objects.filter(pgh_obj_id=subscription.pk).latest("pgh_id")  # type: ignore[attr-defined]
    assert latest.period_end == subscription.period_end
