"""Whatever is done to quantities and prices in whatever order: lines stay what they should be, to the cent."""

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.selectors.invoices import stored_lines, with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.invoicing.services.prepaid import CREDIT
from apps.kernel.money import round_money
from apps.kernel.time import Cadence, Period, add, format_instant, parse_instant, ratio
from apps.rating.adjustments import part_of
from apps.rating.reading import recompute
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.subscriptions import pauses_of
from apps.subscriptions.selectors.timeline import keys_of, lines_of, shown_of, timeline_of
from tests.invoicing.test_quantity_changes import JANUARY, Team
from tests.world import make_world

HOUR = timedelta(hours=1)
moves = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 500)),
    st.tuples(st.just("count"), st.sampled_from(["seats", "backups"]), st.integers(0, 5), st.integers(0, 900)),
    st.tuples(st.just("undo")),
    st.tuples(st.just("price"), st.sampled_from(["seats", "backups"]), st.integers(1, 40), st.integers(0, 60)),
    st.tuples(st.just("pause")),
    st.tuples(st.just("resume")),
)


@pytest.mark.django_db(transaction=True)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(sequence=st.lists(moves, min_size=3, max_size=10))
def test_any_sequence_bills_what_each_moment_cost(sequence: list[tuple[Any, ...]]) -> None:
    team = Team(make_world())
    now = parse_instant(JANUARY)
    api = team.world.api
    for kind, *rest in sequence:
        if kind == "wait":
            now += rest[0] * HOUR
            team.advance(format_instant(now))
        elif kind == "count":
            key, quantity, ahead = rest
            body = {"items": [{"priceKey": key, "quantity": str(quantity)}]}
            api.call("post", team.url, {**body, "effectiveAt": format_instant(now + ahead * HOUR)})
        elif kind == "undo":
            api.call("delete", team.url)
        elif kind == "price":
            key, price, days = rest
            op = {"priceKey": key, "unitPrice": str(price), "baseQuantity": "1", "billingCadence": "P1M",
                  "billingMode": "advance" if key == "seats" else "arrears",
                  "startDate": format_instant(now + days * 24 * HOUR)}  # fmt: skip
            api.call("post", f"/v0/subscriptions/{team.id}/intervals", {"add": [op]})
        else:
            api.call("post", f"/v0/subscriptions/{team.id}/{kind}")
        _check_open(team)
    subscription = Subscription.objects.get(public_id=team.id)
    assert subscription.period_end is not None
    team.advance(format_instant(subscription.period_end - HOUR))
    invoice = Invoice.objects.get(subscription=subscription, status="ACTIVE")
    live = _figures(target_lines([with_neighbours(Invoice.objects.all()).get(pk=invoice.pk)], as_of=None)[invoice.pk])
    team.advance(format_instant(subscription.period_end + timedelta(days=40)))
    assert _figures(stored_lines(invoice)) == live
    _check_calculated(team)


def _figures(lines: Iterable[TargetLine | InvoiceLine]) -> list[tuple[Any, ...]]:
    return sorted((line.reference, line.quantity, line.unit_price, line.gross, line.total) for line in lines)


def _check_open(team: Team) -> None:
    subscription = Subscription.objects.select_related("plan_version", "test_clock").get(public_id=team.id)
    timeline = timeline_of(subscription)
    pieces = shown_of(subscription, timeline, lines_of(subscription, timeline))
    for key in {piece.line.key for piece in pieces}:
        own = [piece for piece in pieces if piece.line.key == key]
        assert own[0].start == subscription.started_at
        assert [piece.end for piece in own] == [*(piece.start for piece in own[1:]), None]
    for line in InvoiceLine.objects.filter(reference__startswith=CREDIT).select_related("price_revision"):
        assert line.gross >= -_billed(line)


def _billed(credit: InvoiceLine) -> Decimal:
    """Give what other lines billed for the month that a credit is of."""
    start = parse_instant(credit.reference.split(":", 2)[2])
    month = Period(start, add(start, Cadence.parse("P1M")))
    assert credit.price_revision is not None
    lines = InvoiceLine.objects.filter(price_revision__price_id=credit.price_revision.price_id).exclude(pk=credit.pk)
    return sum((line.gross for line in lines if month.contains(line.period_start)), Decimal(0))


def _check_calculated(team: Team) -> None:
    """Ask for every closed month what each of its moments cost, the slow way, rounded once."""
    subscription = Subscription.objects.select_related("plan_version", "test_clock").get(public_id=team.id)
    calculated = Invoice.objects.filter(subscription=subscription, calculated_at__isnull=False)
    stored = InvoiceLine.objects.filter(invoice__in=calculated)
    for line in stored:
        assert recompute(line.provenance) == line.gross
    closed_until = max(invoice.period_end for invoice in calculated.filter(sequence_number__gt=0))
    timeline = timeline_of(subscription)
    prices = {key: price for price, key in keys_of([subscription])[subscription.pk].items()}
    pauses = pauses_of(subscription)
    months = [parse_instant(f"2026-{month:02}-01T00:00:00Z") for month in range(1, 13)]
    for whole in (Period(start, end) for start, end in pairwise(months) if end <= closed_until):
        for key, catalogue in (("seats", Decimal(31)), ("backups", Decimal("3.10"))):
            owed = Fraction(0)
            breaks = {
                *timeline.changes(key),
                *(at for pause in pauses.within(whole) for at in (pause.start, pause.end)),
            }
            edges = [whole.start, *sorted(at for at in breaks if whole.start < at < whole.end), whole.end]
            for start, end in pairwise(edges):
                terms = timeline.terms_at(key, start)
                assert terms is not None
                if not pauses.hold(start):
                    each = catalogue if terms.unit_price is None else terms.unit_price
                    count = Decimal(1) if terms.quantity is None else terms.quantity
                    owed += Fraction(each) * Fraction(count) * ratio(Period(start, end), whole, basis="second")
            found = stored.filter(price_revision__price_id=prices[key])
            inside = [line.gross for line in found if whole.contains(line.period_start)]
            assert sum(inside, Decimal(0)) == round_money(part_of(Decimal(1), owed), "USD"), (key, whole)
