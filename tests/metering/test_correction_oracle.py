"""After any mix of ingest, voids and backfills every read is what a slow count of the remaining events gives."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.management import call_command
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from apps.catalog.models import BillableMetric, Product
from apps.kernel.time import format_instant
from apps.metering.aggregations import REGISTRY, CountedEvent
from apps.metering.models import UsageWindow
from apps.metering.selectors.links import SubjectSpan
from apps.metering.selectors.meter import MeterQuestion, meter_rows
from apps.metering.selectors.registry import forget_metrics
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.metering.services.backfilling import start_backfill
from apps.metering.services.interning import intern_subjects
from apps.metering.services.jobs import run_backfill
from apps.metering.services.merge import drain
from apps.metering.services.staging import accept_events
from apps.metering.services.voiding import void_named
from tests.metering.oracle import Known, answers, quantity
from tests.world import make_world

START = datetime(2026, 3, 28, 22, tzinfo=UTC)
SPAN = 4 * 3600

values = st.decimals(min_value=-1000, max_value=1000, places=3, allow_nan=False)
events = st.lists(
    st.tuples(
        st.integers(0, SPAN - 1),
        values,
        st.sampled_from(["cus_a", "cus_b"]),
        st.sampled_from(["x", "y", ""]),
        st.booleans(),  # voided
        st.booleans(),  # voided before the backfill rather than after
    ),
    max_size=24,
)
edges = st.integers(0, SPAN)

Row = tuple[int, Decimal, str, str, bool, bool]


class CorrectionOracle(TestCase):
    def prepare(self) -> None:
        forget_metrics()
        self.world = make_world()
        self.product = Product.objects.create(organization=self.world.merchant, name="p")
        # A type must be known before its events; this metric is there from the beginning.
        self.metrics = {"early": self.metric("SUM", "early", {"g": "$.g"})}

    def metric(self, code: str, name: str, group_by: dict[str, str], event_from: datetime | None = None) -> Any:
        forget_metrics()
        return BillableMetric.objects.create(
            organization=self.world.merchant,
            product=self.product,
            name=name,
            unit="u",
            aggregation=code,
            event_type="t",
            value_property="" if code == "COUNT" else "$.v",
            group_by=group_by,
            event_from=event_from,
        )

    def ingest(self, rows: list[tuple[int, Row]]) -> None:
        raw: list[Any] = [
            {
                "type": "t",
                "source": "s",
                "subject": subject,
                "timestamp": format_instant(START + timedelta(seconds=second)),
                "idempotencyKey": f"k{n}",
                "data": {"v": value, **({"g": group} if group else {})},
            }
            for n, (second, value, subject, group, *_) in rows
        ]
        taken = accept_events(
            raw,
            organization_id=self.world.merchant.pk,
            organization_public_id=self.world.id,
            as_of=START + timedelta(days=1),
        )
        assert not taken.rejected
        self.ids |= {draft.idempotency_key: draft.public_id for _, draft in taken.accepted}
        self.texts |= {draft.idempotency_key: draft.data for _, draft in taken.accepted}

    def void(self, rows: list[tuple[int, Row]], wanted: set[str]) -> None:
        found = void_named(
            organization_id=self.world.merchant.pk,
            keys=[f"k{n}" for n, _ in rows],
            reason="wrong",
            user_id=self.world.owner.pk,
            as_of=START,
        )
        assert {entry.outcome for entry in found} <= wanted

    def backfill(self, metric: BillableMetric) -> None:
        job = start_backfill(metric_id=metric.pk, user_id=self.world.owner.pk, as_of=datetime.now(UTC))
        assert not run_backfill(job_id=job.pk, seconds=60)
        job.refresh_from_db()
        assert (job.status, job.failure) == ("done", "")

    @settings(max_examples=15)
    @given(rows=events, a=edges, b=edges, cut=edges)
    def test_every_read_after_voids_and_backfills(self, rows: list[Row], a: int, b: int, cut: int) -> None:
        self.prepare()
        self.ids: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        numbered = list(enumerate(rows))
        self.ingest(numbered[::2])
        drain()
        self.void([(n, row) for n, row in numbered[::2] if row[4] and row[5]], {"voided"})
        # Metrics that come later, one of each kind, one with a beginning, and one whose groups change.
        for code in REGISTRY:
            self.metrics[code] = self.metric(code, code, {"g": "$.g"})
        began = START + timedelta(seconds=cut)
        self.metrics["later"] = self.metric("SUM", "later", {}, began)
        BillableMetric.objects.filter(pk=self.metrics["early"].pk).update(group_by={"h": "$.g"})
        self.metrics["early"].refresh_from_db()
        forget_metrics()
        self.ingest(numbered[1::2])  # staged while the backfills begin
        for metric in self.metrics.values():
            self.backfill(metric)
        gone = [(n, row) for n, row in numbered if row[4]]
        self.void(gone, {"voided", "already_voided"})
        self.void(gone, {"already_voided"})
        for metric in self.metrics.values():
            self.backfill(metric)  # finds nothing to change

        start, end = START + timedelta(seconds=min(a, b)), START + timedelta(seconds=max(a, b) + 1)
        organization = self.world.merchant.pk
        subjects = intern_subjects([(organization, False, "cus_a"), (organization, False, "cus_b")])
        remaining = []
        for n, (second, _, subject, group, is_voided, _) in numbered:
            if not is_voided:
                value = json.loads(self.texts[f"k{n}"], parse_float=Decimal, parse_int=Decimal)["v"]
                at = START + timedelta(seconds=second)
                event = CountedEvent(at, value, format(value, "f"), self.ids[f"k{n}"])
                remaining.append(Known(subject, {"g": group}, event))
        for name, metric in self.metrics.items():
            began = metric.event_from
            known = [one for one in remaining if began is None or one.event.at >= began]
            own = [one for one in known if one.subject == "cus_a"]
            spans = {name: SubjectSpan(subjects[organization, False, name]) for name in ("cus_a", "cus_b")}
            found = period_usage(
                requests=[
                    UsageRequest(organization, metric.pk, [spans["cus_a"]], start, end),
                    UsageRequest(organization, metric.pk, list(spans.values()), start, end),
                ]
            )
            assert found[0] == quantity(metric.aggregation, own, start, end), name
            assert found[1] == quantity(metric.aggregation, known, start, end), name
            groups = tuple(metric.group_by)
            group_of: Callable[[Known], tuple[str, ...]] = (
                (lambda one: (one.groups["g"],)) if groups else (lambda one: ())
            )
            for size in ("MINUTE", "HOUR"):
                wanted = answers(
                    metric.aggregation,
                    known,
                    start,
                    end,
                    size=size,
                    tz="UTC",
                    group_of=group_of,
                )
                rows = meter_rows(MeterQuestion(metric, start, end, None, size, groups, None))
                assert {(max(row.window_start, start), row.group): row.quantity for row in rows} == {
                    at: answer.quantity for at, answer in wanted.items()
                }, (name, size)
        call_command("verify_windows", organization=self.world.id)
        assert all(window.count > 0 for window in UsageWindow.objects.filter(organization_id=organization))
