"""Usage answers against a slow, obvious oracle over the raw events."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from apps.catalog.models import BillableMetric, Product
from apps.customers.models import Customer
from apps.kernel.time import Period, format_instant
from apps.metering.aggregations import REGISTRY, CountedEvent, UsageState, get
from apps.metering.selectors.grouped import grouped_usage
from apps.metering.selectors.links import SubjectSpan, subjects_of
from apps.metering.selectors.meter import MeterQuestion, meter_rows
from apps.metering.selectors.registry import forget_metrics
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.metering.services.interning import forget_interned, intern_subjects
from apps.metering.services.merge import drain
from apps.metering.services.staging import accept_events
from tests.metering.oracle import Known, answers, quantity
from tests.world import make_world

# Each span begins shortly before something that clocks do: Paris goes forward on 29 March at 01:00 UTC, Lord Howe
# goes back by half an hour on 4 April at 15:00 UTC, New York goes back on 1 November at 06:00 UTC.
SPANS = {
    "Europe/Paris": datetime(2026, 3, 28, 22, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2026, 4, 4, 12, tzinfo=UTC),
    "America/New_York": datetime(2026, 11, 1, 3, tzinfo=UTC),
    "Asia/Kathmandu": datetime(2026, 1, 31, 16, tzinfo=UTC),
    "Asia/Kolkata": datetime(2026, 2, 28, 17, tzinfo=UTC),
    "UTC": datetime(2026, 12, 31, 21, tzinfo=UTC),
}
SPAN = 6 * 3600
CUSTOMER, OWN, STRANGER, UNLINKED = "the customer's id", "the merchant's own id", "cus_nobody", "early"


@dataclass(frozen=True, slots=True)
class Sent:
    """One event to send: seconds since the span's start, and the merge after which it comes."""

    second: int
    value: Decimal
    subject: str
    model: str
    region: str
    batch: int
    is_repeated: bool


# Whole hours and half hours are drawn often: there is where windows begin and end.
seconds = st.one_of(
    st.integers(0, SPAN - 1), st.sampled_from([900 * n for n in range(SPAN // 900)]), st.just(1799), st.just(3600)
)
sent = st.builds(
    Sent,
    second=seconds,
    value=st.decimals(min_value=-1000, max_value=1000, places=3, allow_nan=False),
    subject=st.sampled_from([CUSTOMER, OWN, STRANGER, UNLINKED]),
    model=st.sampled_from(["x", "y", ""]),
    region=st.sampled_from(["eu", "us"]),
    batch=st.integers(0, 2),
    is_repeated=st.booleans(),
)
edges = st.one_of(st.integers(0, SPAN), st.sampled_from([900 * n for n in range(SPAN // 900 + 1)]))


class UsageOracle(TestCase):
    """Each aggregation over random events, intervals with edges inside hours, groups, filters, time zones."""

    def prepare(self) -> None:
        """Each example runs in its own transaction, so that its merchant is made in it."""
        forget_metrics()
        forget_interned()
        self.world = make_world()
        self.organization = self.world.merchant.pk
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
                group_by={"model": "$.model", "region": "$.region"},
            )
            for code in REGISTRY
        }
        self.customer = Customer.objects.get(public_id=self.world.customer(externalId="acme"))

    def ingest(self, start: datetime, rows: Sequence[Sent]) -> list[Known]:
        """Send events in three batches, each merged before the next: windows are made, and added to, also late."""
        found: list[Known] = []
        for batch in range(3):
            raw: list[Any] = []
            for n, row in enumerate(rows):
                if row.batch == batch or (row.is_repeated and batch == 2):
                    raw.append(self.event(f"k{n}", start, row))
            verdicts = accept_events(
                raw,
                organization_id=self.organization,
                organization_public_id=self.world.id,
                as_of=start + timedelta(seconds=SPAN),
            )
            assert not verdicts.rejected
            drain()
            fresh = {f"k{n}" for n, row in enumerate(rows) if row.batch == batch}
            for _, draft in verdicts.accepted:
                if draft.idempotency_key in fresh:
                    data = json.loads(draft.data, parse_float=Decimal, parse_int=Decimal)
                    event = CountedEvent(draft.occurred_at, data["v"], format(data["v"], "f"), draft.public_id)
                    groups = {"model": data.get("model", ""), "region": data["region"]}
                    found.append(Known(self.name_of(draft.subject), groups, event))
        return found

    def event(self, key: str, start: datetime, row: Sent) -> dict[str, Any]:
        names = {
            CUSTOMER: ("subject", self.customer.public_id),
            OWN: ("externalSubject", "acme"),
            UNLINKED: ("externalSubject", UNLINKED),
        }
        field, subject = names.get(row.subject, ("subject", row.subject))
        return {
            "type": "t",
            "source": "s",
            field: subject,
            "timestamp": format_instant(start + timedelta(seconds=row.second)),
            "idempotencyKey": key,
            "data": {"v": row.value, "region": row.region, **({"model": row.model} if row.model else {})},
        }

    def name_of(self, subject: str) -> str:
        return self.customer.public_id if subject == "acme" else subject

    @settings(max_examples=30)
    @given(rows=st.lists(sent, max_size=30), a=edges, b=edges, tz=st.sampled_from(sorted(SPANS)))
    def test_billing_gets_what_the_events_say(self, rows: list[Sent], a: int, b: int, tz: str) -> None:
        self.prepare()
        begin = SPANS[tz]
        start, end = begin + timedelta(seconds=min(a, b)), begin + timedelta(seconds=max(a, b) + 1)
        stored = self.ingest(begin, rows)
        stranger = [SubjectSpan(key) for key in intern_subjects([(self.organization, False, STRANGER)]).values()]
        own = subjects_of(customer_ids=[self.customer.pk]).get(self.customer.pk, [])
        requests, wanted = [], []
        for code, metric in self.metrics.items():
            for subjects, names in ((own, {self.customer.public_id}), (stranger, {STRANGER}), ([], set())):
                for first, last in ((start, end), (begin, end), (end, end + timedelta(hours=3))):
                    requests.append(UsageRequest(self.organization, metric.pk, subjects, first, last))
                    wanted.append(quantity(code, [known for known in stored if known.subject in names], first, last))
        assert period_usage(requests=requests) == wanted
        # One at a time the statements are others, because parts that are not needed are left out.
        for request, answer in list(zip(requests, wanted, strict=True))[::9]:
            assert period_usage(requests=[request]) == [answer]

    @settings(max_examples=30)
    @given(
        rows=st.lists(sent, max_size=30),
        a=edges,
        b=edges,
        names=st.sampled_from([("model",), ("region",), ("region", "model")]),
    )
    def test_prices_by_dimension_get_what_the_events_say(
        self, rows: list[Sent], a: int, b: int, names: tuple[str, ...]
    ) -> None:
        self.prepare()
        begin = SPANS["UTC"]
        start, end = begin + timedelta(seconds=min(a, b)), begin + timedelta(seconds=max(a, b) + 1)
        stored = self.ingest(begin, rows)
        stranger = [SubjectSpan(key) for key in intern_subjects([(self.organization, False, STRANGER)]).values()]
        own = subjects_of(customer_ids=[self.customer.pk]).get(self.customer.pk, [])
        requests, wanted = [], []
        for code, metric in self.metrics.items():
            for subjects, owner in ((own, self.customer.public_id), (stranger, STRANGER)):
                requests.append((UsageRequest(self.organization, metric.pk, subjects, start, end), names))
                known = [one for one in stored if one.subject == owner]
                found = answers(
                    code, known, start, end, size=None, tz="UTC",
                    group_of=lambda one: tuple(one.groups[name] for name in names),
                )  # fmt: skip
                wanted.append({group: answer.quantity for (_, group), answer in found.items()})
        assert grouped_usage(requests=requests) == wanted

    @settings(max_examples=60)
    @given(
        rows=st.lists(sent, max_size=25),
        a=edges,
        b=edges,
        tz=st.sampled_from(sorted(SPANS)),
        size=st.sampled_from([None, "MINUTE", "HOUR", "DAY", "MONTH"]),
        group_by=st.sampled_from([(), ("model",), ("subject",), ("region", "subject"), ("region", "model")]),
        models=st.sampled_from([None, ["x"], ["x", ""], ["z"]]),
        is_customers=st.booleans(),
    )
    def test_the_meter_answers_what_the_events_say(
        self,
        rows: list[Sent],
        a: int,
        b: int,
        tz: str,
        size: str | None,
        group_by: tuple[str, ...],
        models: list[str] | None,
        is_customers: bool,
    ) -> None:
        self.prepare()
        begin = SPANS[tz]
        start, end = begin + timedelta(seconds=min(a, b)), begin + timedelta(seconds=max(a, b) + 1)
        stored = self.ingest(begin, rows)
        subjects = subjects_of(customer_ids=[self.customer.pk])[self.customer.pk] if is_customers else None
        asked = [
            known
            for known in stored
            if (models is None or known.groups["model"] in models)
            and (not is_customers or known.subject == self.customer.public_id)
        ]

        def group_of(known: Known) -> tuple[str, ...]:
            return tuple(known.subject if name == "subject" else known.groups[name] for name in group_by)

        for code, metric in self.metrics.items():
            question = MeterQuestion(
                metric, start, end, subjects, size, group_by, None if models is None else {"model": models}, tz
            )
            found = meter_rows(question)
            assert [(row.window_start, row.group) for row in found] == sorted(
                (row.window_start, row.group) for row in found
            )
            assert {(max(row.window_start, start), row.group): (row.quantity, row.event_count) for row in found} == {
                key: (answer.quantity, answer.events)
                for key, answer in answers(code, asked, start, end, size=size, tz=tz, group_of=group_of).items()
            }, code
            self.check_some_groups(question, [row.group for row in found], found)

    @staticmethod
    def check_some_groups(question: MeterQuestion, groups: list[tuple[str, ...]], found: Sequence[Any]) -> None:
        """Asking for one group gives its rows and no others."""
        if question.group_by and groups:
            alone = MeterQuestion(
                question.metric, question.start, question.end, question.subjects, question.window_size,
                question.group_by, question.filters, question.tz, [groups[0]],
            )  # fmt: skip
            assert meter_rows(alone) == [row for row in found if row.group == groups[0]]


@pytest.mark.parametrize("code", sorted(REGISTRY))
def test_states_and_events_agree_on_nothing(code: str) -> None:
    assert get(code).of_state(UsageState()) == get(code).fold([])


def test_average_is_exact_to_nine_places() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    thirds = [CountedEvent(at, Decimal(v), v, v) for v in ("1", "1", "0")]
    assert get("AVG").fold(thirds) == Decimal("0.666666667")
    assert get("AVG").of_state(UsageState(sum=Decimal(2), count=3)) == Decimal("0.666666667")


def test_a_level_is_weighted_by_the_time_it_was_held() -> None:
    day = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    level: Callable[[datetime, str], CountedEvent] = lambda at, v: CountedEvent(at, Decimal(v), v, v)  # noqa: E731
    events = [
        level(day.start - timedelta(days=400), "3"),  # what the day starts with
        level(day.start + timedelta(hours=6), "1"),
        level(day.start + timedelta(hours=18), "-4"),
        level(day.end, "1000"),  # the next day's
    ]
    # 3 for six hours, 4 for twelve, 0 for six.
    assert get("WEIGHTED_SUM").fold(events, day) == Decimal("2.75")
    third = Period(day.start, day.start + timedelta(seconds=3))
    assert get("WEIGHTED_SUM").fold([level(day.start + timedelta(seconds=1), "1")], third) == Decimal("0.666666667")
