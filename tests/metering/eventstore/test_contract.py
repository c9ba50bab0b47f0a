"""What every event store answers, tried on each driver against slow, obvious sums over the events themselves."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from apps.catalog.models import BillableMetric
from apps.kernel.time import format_instant
from apps.metering.aggregations import CountedEvent
from apps.metering.eventstore import REGISTRY, EventStore, Span
from apps.metering.selectors.links import SubjectSpan
from apps.metering.selectors.meter import MeterQuestion, meter_rows
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.metering.services.interning import intern_subjects
from apps.metering.services.merge import drain
from apps.metering.services.staging import accept_events
from tests.metering.eventstore.conftest import carry_over
from tests.metering.oracle import Known, answers, quantity
from tests.world import World, make_world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("clickhouse")]

START = datetime(2026, 3, 28, 22, tzinfo=UTC)
SPAN = 4 * 3600
BIG = "999999999999999999.123456789"
TEXTS = ["plain", "tab\there", "quote \"' back\\slash", "line\nbreak", "ключ 🔑", "\\N", ""]


Stored = list[Known]


def ingest(world: World, seconds: Sequence[int], seed: int) -> Stored:
    source = random.Random(seed)
    raw: list[Any] = [
        {
            "type": "t",
            "source": f"s {source.choice(TEXTS)}",
            "subject": source.choice(["cus_a", "cus_b"]),
            "timestamp": format_instant(START + timedelta(seconds=second, microseconds=source.randrange(1_000_000))),
            "idempotencyKey": f"k{seed}-{n} {source.choice(TEXTS)}",
            "externalId": source.choice(["", "x1", "x2"]),
            "data": {
                "v": Decimal(source.randrange(-(10**6), 10**6)).scaleb(-3),
                "g": source.choice(TEXTS),
                "text": source.choice(TEXTS),
            },
        }
        for n, second in enumerate(seconds)
    ]
    taken = accept_events(raw, organization_id=world.merchant.pk, organization_public_id=world.id, as_of=START)
    assert not taken.rejected
    drain()
    found = []
    for _, draft in taken.accepted:
        data = json.loads(draft.data, parse_float=Decimal, parse_int=Decimal)
        event = CountedEvent(draft.occurred_at, data["v"], format(data["v"], "f"), draft.public_id)
        found.append(Known(draft.subject, {"g": str(data["g"])}, event))
    return found


def assert_answers(world: World, metrics: dict[str, BillableMetric], stored: Stored, seed: int) -> None:
    """Ask about intervals with edges inside hours, of one subject and of all, by minute and by hour."""
    source = random.Random(seed)
    organization = world.merchant.pk
    names = [(organization, False, "cus_a"), (organization, False, "cus_b")]
    spans = [SubjectSpan(key) for key in intern_subjects(names).values()]
    for _ in range(4):
        a, b = sorted(source.randrange(SPAN) for _ in range(2))
        start, end = START + timedelta(seconds=a), START + timedelta(seconds=b + 1)
        for code, metric in metrics.items():
            found = period_usage(
                requests=[
                    UsageRequest(organization, metric.pk, spans[:1], start, end),
                    UsageRequest(organization, metric.pk, spans, start, end),
                ]
            )
            own = [known for known in stored if known.subject == "cus_a"]
            assert found == [quantity(code, own, start, end), quantity(code, stored, start, end)], code
            groups = tuple(metric.group_by)
            group_of = by_group if groups else (lambda known: ())
            for size in ("MINUTE", "HOUR"):
                wanted = answers(code, stored, start, end, size=size, tz="UTC", group_of=group_of)
                rows = meter_rows(MeterQuestion(metric, start, end, None, size, groups, None))
                assert {(max(row.window_start, start), row.group): row.quantity for row in rows} == {
                    key: answer.quantity for key, answer in wanted.items()
                }, (code, size)
                # Of some subjects the question is another statement.
                alone = meter_rows(MeterQuestion(metric, start, end, spans[:1], size, groups, None))
                assert {(max(row.window_start, start), row.group): row.quantity for row in alone} == {
                    key: answer.quantity
                    for key, answer in answers(code, own, start, end, size=size, tz="UTC", group_of=group_of).items()
                }, (code, size)


def by_group(known: Known) -> tuple[str, ...]:
    return (known.groups["g"],)


def test_both_drivers_are_tried_here() -> None:
    assert {path.rpartition(".")[0].rpartition(".")[2] for path in REGISTRY.values()} == {"postgresql", "clickhouse"}


def test_answers_are_those_of_the_events(store: EventStore, metrics: tuple[World, dict[str, BillableMetric]]) -> None:
    world, by_code = metrics
    source = random.Random(5)
    stored = ingest(world, [source.randrange(SPAN) for _ in range(120)], seed=1)
    # Nothing is relayed yet, then a part, then all: the answers do not tell.
    assert_answers(world, by_code, stored, seed=10)
    carry_over(store)
    assert_answers(world, by_code, stored, seed=11)
    stored += ingest(world, [source.randrange(SPAN) for _ in range(40)], seed=2)
    assert_answers(world, by_code, stored, seed=12)
    carry_over(store)
    assert_answers(world, by_code, stored, seed=13)


def test_another_merchant_is_never_seen(store: EventStore, metrics: tuple[World, dict[str, BillableMetric]]) -> None:
    world, _ = metrics
    ingest(world, [1, 2, 3], seed=6)
    carry_over(store)
    other = Span(make_world().merchant.pk, START, START + timedelta(hours=5))
    with store.events_in([other]) as events, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {events} WHERE organization_id = %s", [other.organization_id])
        assert cursor.fetchone()[0] == 0


def test_years_beyond_any_calendar_come_back_as_they_went(
    store: EventStore, metrics: tuple[World, dict[str, BillableMetric]]
) -> None:
    world, _ = metrics
    far = datetime(8999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    raw: list[Any] = [
        {"type": "t", "source": "s", "subject": "cus_a", "idempotencyKey": "far", "data": {"v": BIG},
         "timestamp": "8999-12-31T23:59:59.999999Z"}
    ]  # fmt: skip
    accept_events(raw, organization_id=world.merchant.pk, organization_public_id=world.id, as_of=far)
    drain()
    carry_over(store)
    span = Span(world.merchant.pk, far, far + timedelta(microseconds=1))
    with store.events_in([span]) as events, connection.cursor() as cursor:
        cursor.execute(f"SELECT occurred_at, max(q) FROM {events}, unnest(quantities) AS q GROUP BY 1")
        assert cursor.fetchall() == [(far, Decimal(BIG))]
