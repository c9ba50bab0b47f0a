"""Usage answers against a slow, obvious oracle over the raw events."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from apps.catalog.models import BillableMetric, Product
from apps.kernel.time import format_instant
from apps.metering.aggregations import REGISTRY, CountedEvent, UsageState, get
from apps.metering.selectors.links import SubjectSpan
from apps.metering.selectors.meter import MeterQuestion, meter_rows
from apps.metering.selectors.registry import forget_metrics
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.metering.services.interning import intern_subjects
from apps.metering.services.merge import drain
from apps.metering.services.staging import accept_events
from tests.world import make_world

START = datetime(2026, 3, 28, 22, tzinfo=UTC)
SPAN = 4 * 3600

values = st.decimals(min_value=-1000, max_value=1000, places=3, allow_nan=False)
events = st.lists(
    st.tuples(st.integers(0, SPAN - 1), values, st.sampled_from(["cus_a", "cus_b"]), st.sampled_from(["x", "y", ""])),
    max_size=30,
)
edges = st.integers(0, SPAN)

Row = tuple[int, Decimal, str, str]


class UsageOracle(TestCase):
    """Each aggregation over random events, intervals with edges inside hours, and groups."""

    def prepare(self) -> None:
        """Each example runs in its own transaction, so that its merchant is made in it."""
        forget_metrics()
        self.world = make_world()
        product = Product.objects.create(organization=self.world.merchant, name="p")
        self.metrics = {
            code: BillableMetric.objects.create(
                organization=self.world.merchant,
                product=product,
                name=code,
                unit="u",
                aggregation=code,
                event_type="t",
                value_property="" if code == "COUNT" else "$.v",
                group_by={"g": "$.g"},
            )
            for code in REGISTRY
        }

    def ingest(self, rows: Sequence[Row]) -> list[tuple[str, str, CountedEvent]]:
        raw: list[Any] = []
        for n, (second, value, subject, group) in enumerate(rows):
            data: dict[str, Any] = {"v": value}
            if group:
                data["g"] = group
            at = format_instant(START + timedelta(seconds=second))
            raw.append(
                {
                    "type": "t",
                    "source": "s",
                    "subject": subject,
                    "timestamp": at,
                    "idempotencyKey": f"k{n}",
                    "data": data,
                }
            )
        # In two batches, so that windows are added to as well as made.
        verdicts = []
        for part in (raw[::2], raw[1::2]):
            taken = accept_events(
                part,
                organization_id=self.world.merchant.pk,
                organization_public_id=self.world.id,
                as_of=START + timedelta(seconds=SPAN),
            )
            assert not taken.rejected
            verdicts.extend(taken.accepted)
            drain()
        found = []
        for _, draft in verdicts:
            data = json.loads(draft.data, parse_float=Decimal, parse_int=Decimal)
            event = CountedEvent(draft.occurred_at, data["v"], format(data["v"], "f"), draft.public_id)
            found.append((draft.subject, str(data.get("g", "")), event))
        return found

    @settings(max_examples=25)
    @given(rows=events, a=edges, b=edges)
    def test_every_aggregation_over_any_interval(self, rows: list[Row], a: int, b: int) -> None:
        self.prepare()
        start, end = START + timedelta(seconds=min(a, b)), START + timedelta(seconds=max(a, b) + 1)
        stored = self.ingest(rows)
        organization = self.world.merchant.pk
        subjects = intern_subjects([(organization, False, "cus_a"), (organization, False, "cus_b")])
        for code, metric in self.metrics.items():
            answers = period_usage(
                requests=[
                    UsageRequest(
                        organization, metric.pk, [SubjectSpan(subjects[organization, False, "cus_a"])], start, end
                    ),
                    UsageRequest(
                        organization, metric.pk, [SubjectSpan(key) for key in subjects.values()], start, end
                    ),
                    UsageRequest(organization, metric.pk, [], start, end),
                ]
            )
            inside = [(s, g, e) for s, g, e in stored if start <= e.at < end]
            fold = get(code).fold
            assert answers[0] == fold([e for s, _, e in inside if s == "cus_a"]), code
            assert answers[1] == fold([e for _, _, e in inside]), code
            assert answers[2] == fold([]), code
            for size, seconds in (("MINUTE", 60), ("HOUR", 3600)):
                rows_found = meter_rows(MeterQuestion(metric, start, end, None, size, ("g",), None))
                wanted: dict[tuple[datetime, str], list[CountedEvent]] = {}
                for _, group, event in inside:
                    stamp = int(event.at.timestamp()) // seconds * seconds
                    wanted.setdefault((datetime.fromtimestamp(stamp, UTC), group), []).append(event)
                found = {(row.window_start, row.group[0]): row.quantity for row in rows_found}
                assert found == {key: fold(group) for key, group in wanted.items()}, (code, size)
            only_x = meter_rows(MeterQuestion(metric, start, end, None, None, (), {"g": ["x"]}))
            matching = [e for _, g, e in inside if g == "x"]
            assert (only_x[0].quantity if only_x else fold([])) == fold(matching), code


@pytest.mark.parametrize("code", sorted(REGISTRY))
def test_states_and_events_agree_on_nothing(code: str) -> None:
    assert get(code).of_state(UsageState()) == get(code).fold([])


def test_average_is_exact_to_nine_places() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    thirds = [CountedEvent(at, Decimal(v), v, v) for v in ("1", "1", "0")]
    assert get("AVG").fold(thirds) == Decimal("0.666666667")
    assert get("AVG").of_state(UsageState(sum=Decimal(2), count=3)) == Decimal("0.666666667")
