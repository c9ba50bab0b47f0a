"""Reading usage: one customer and one metric over a month, as stored events grow from 10 thousand to 10 million."""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg

from bench.ingest import MODELS, TYPE, call_api, make_metrics
from bench.load import LoadResult, make_get, send_all
from bench.stack import running_stack, settings_of

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
SUBJECTS = 1_000
# The customer that is asked for has every tenth event, so that its month is full of hours early on.
SHARE = 10
START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
SECONDS = 31 * 86_400

# Event number n, always the same: who, when, which model, how much. A prime step spreads them over the month.
NUMBERED = f"""
SELECT n, CASE WHEN n %% {SHARE} = 0 THEN %(asked)s ELSE (%(subjects)s::bigint[])[1 + n %% {SUBJECTS}] END AS subject,
       timestamptz '2026-03-01Z' + (n * 7919 %% {SECONDS}) * interval '1 second' AS at,
       (%(dimensions)s::bigint[])[1 + n / 7 %% {MODELS}] AS dimension, (100 + n %% 900)::numeric AS value
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
EVENTS = """
INSERT INTO metering_event (public_id, organization_id, idempotency_key, event_type, source, subject_id, occurred_at,
                            accepted_at, data, metrics, dimensions, quantities)
SELECT 'evt_bench' || n, %(organization)s, 'bench' || n, '{type}', 'bench', subject, at, at,
       jsonb_build_object('input', value), ARRAY[%(metric)s::bigint], ARRAY[dimension], ARRAY[value]
FROM ({numbered}) AS event
"""
WINDOWS = """
INSERT INTO metering_window AS w (organization_id, metric_id, subject_id, hour, dimension_id, sum, count, min, max,
                                  moment, changed_at)
SELECT %(organization)s, %(metric)s, subject, date_trunc('hour', at, 'UTC'), dimension, sum(value), count(*),
       min(value), max(value),
       sum(value * extract(epoch FROM date_trunc('hour', at, 'UTC') + interval '1 hour' - at)), now()
FROM ({numbered}) AS event GROUP BY 3, 4, 5 ORDER BY 3, 4, 5
ON CONFLICT ON CONSTRAINT metering_window_once DO UPDATE SET
    sum = w.sum + excluded.sum, count = w.count + excluded.count, min = least(w.min, excluded.min),
    max = greatest(w.max, excluded.max), moment = w.moment + excluded.moment
"""
QUESTIONS = {
    "a month": "from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z",
    "a month that begins and ends inside hours": "from=2026-03-01T09:20:00Z&to=2026-03-31T17:40:00Z",
    "a month by day and model": "from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z&windowSize=DAY&groupBy=model",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose usage of which metric is asked for."""

    organization: int
    metric: int
    metric_public_id: str
    customer: str
    subject: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="leave out sizes beyond this")
    parser.add_argument("--calls", type=int, default=500, help="calls a question, over HTTP and to the selector")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill tables step by step with SQL, ask the same questions at each size, print p50 and p99."""
    sizes = [size for size in SIZES if size <= arguments.largest]
    with running_stack() as facts, psycopg.connect(facts["database_url"], autocommit=True) as database:
        settings = settings_of(database)
        print(f"settings: {json.dumps(settings)}")
        os.environ["DATABASE_URL"] = facts["database_url"]
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
        import django

        django.setup()
        asked, values = _prepare(facts, database)
        rows: list[dict[str, Any]] = []
        stored = 0
        for size in sizes:
            _fill(database, values, stored, size)
            stored = size
            _check(database, asked, size)
            for name, question in QUESTIONS.items():
                rows.append({"events": size, "question": name, **_measure(facts, asked, question, arguments.calls)})
                print(_line(rows[-1]), flush=True)
            for name, answer in (("as billing asks", _ask_selector), ("as a level", _ask_level)):
                rows.append({"events": size, "question": f"a month, {name}", **answer(asked, arguments.calls)})
                print(_line(rows[-1]), flush=True)
    return {"settings": settings, "rows": rows}


def _prepare(facts: dict[str, Any], database: psycopg.Connection[Any]) -> tuple[Asked, dict[str, Any]]:
    from apps.metering.services.interning import intern_dimensions, intern_subjects

    make_metrics(facts)
    consumer = {"name": "Bench", "email": "ap@bench.test", "address": {"country": "FR"}}
    customer = call_api(facts, "/v0/customers", {"merchantId": facts["merchant_id"], "consumer": consumer})
    found = database.execute(
        "SELECT id, public_id, organization_id FROM catalog_billablemetric WHERE name = 'Bench input'"
    ).fetchone()
    assert found is not None
    metric, metric_public_id, organization = found
    names = [customer["customerId"], *(f"bench-{n}" for n in range(SUBJECTS))]
    subjects = intern_subjects([(organization, False, name) for name in names])
    dimensions = intern_dimensions([(organization, metric, ("model",), (f"model-{n}",)) for n in range(MODELS)])
    asked = Asked(organization, metric, metric_public_id, names[0], subjects[organization, False, names[0]])
    return asked, {
        "organization": organization, "metric": metric, "asked": asked.subject,
        "subjects": [subjects[organization, False, name] for name in names[1:]],
        "dimensions": list(dimensions.values()),
    }  # fmt: skip


def _fill(database: psycopg.Connection[Any], values: dict[str, Any], stored: int, size: int) -> None:
    began = time.perf_counter()
    step = 1_000_000
    for first in range(stored, size, step):
        numbers = {"first": first, "last": min(first + step, size) - 1}
        with database.transaction():
            for statement in (EVENTS, WINDOWS):
                database.execute(statement.format(numbered=NUMBERED, type=TYPE), values | numbers)
    for table in ("metering_event", "metering_window"):
        database.execute(f"VACUUM (ANALYZE) {table}")
    database.execute("CHECKPOINT")
    print(f"{size:,} events stored ({time.perf_counter() - began:,.0f} s)", flush=True)


def _check(database: psycopg.Connection[Any], asked: Asked, size: int) -> None:
    """The windows hold what the events say."""
    from apps.metering.selectors.links import SubjectSpan
    from apps.metering.selectors.usage import UsageRequest, period_usage

    found = database.execute(
        "SELECT sum(x.v) FROM metering_event e, unnest(e.metrics, e.quantities) AS x(m, v)"
        " WHERE e.organization_id = %s AND e.subject_id = %s AND x.m = %s",
        [asked.organization, asked.subject, asked.metric],
    ).fetchone()
    span = SubjectSpan(asked.subject)
    counted = period_usage(requests=[UsageRequest(asked.organization, asked.metric, [span], START, END)])
    expected = sum(100 + number % 900 for number in range(0, size, SHARE))
    if (found and found[0], counted[0]) != (Decimal(expected), Decimal(expected)):
        raise RuntimeError(f"events {found}, windows {counted}, expected {expected}")


def _measure(facts: dict[str, Any], asked: Asked, question: str, calls: int) -> dict[str, float]:
    path = f"/v0/billableMetrics/{asked.metric_public_id}/meter?{question}&subject={asked.customer}"
    request = make_get(facts["base_url"], path, facts["api_key"])
    send_all(facts["base_url"], [request] * 40, connections=4)
    result = send_all(facts["base_url"], [request] * calls, connections=1)
    if set(result.statuses) != {200}:
        raise RuntimeError(f"answers were {result.statuses}")
    return {"http_p50_ms": result.percentile(0.5), "http_p99_ms": result.percentile(0.99)} | _ask_meter(
        asked, question, calls
    )


def _ask_meter(asked: Asked, question: str, calls: int) -> dict[str, float]:
    """The same question to the selector, as the endpoint puts it."""
    from urllib.parse import parse_qs

    from apps.catalog.models import BillableMetric
    from apps.kernel.time import parse_instant
    from apps.metering.selectors.links import SubjectSpan
    from apps.metering.selectors.meter import MeterQuestion, meter_rows

    said = {name: values[0] for name, values in parse_qs(question).items()}
    metric = BillableMetric.objects.get(pk=asked.metric)
    start, end = parse_instant(said["from"]), parse_instant(said["to"])
    groups = tuple(said["groupBy"].split(",")) if "groupBy" in said else ()
    put = MeterQuestion(metric, start, end, [SubjectSpan(asked.subject)], said.get("windowSize"), groups)
    return _time(lambda: meter_rows(put), calls)


def _ask_level(asked: Asked, calls: int) -> dict[str, float]:
    """The same windows, read as changes of a level: a month in the second half of what is stored."""
    from apps.catalog.models import BillableMetric
    from apps.metering.selectors.links import SubjectSpan
    from apps.metering.selectors.meter import MeterQuestion, meter_rows

    metric = BillableMetric.objects.get(pk=asked.metric)
    metric.aggregation = "WEIGHTED_SUM"
    middle = START + (END - START) / 2
    put = MeterQuestion(metric, middle, middle + (END - START), [SubjectSpan(asked.subject)])
    return _time(lambda: meter_rows(put), calls)


def _ask_selector(asked: Asked, calls: int) -> dict[str, float]:
    from apps.metering.selectors.links import SubjectSpan
    from apps.metering.selectors.usage import UsageRequest, period_usage

    request = UsageRequest(asked.organization, asked.metric, [SubjectSpan(asked.subject)], START, END)
    return _time(lambda: period_usage(requests=[request]), calls)


def _time(ask: Callable[[], Any], calls: int) -> dict[str, float]:
    for _ in range(20):
        ask()
    result = LoadResult()
    for _ in range(calls):
        began = time.perf_counter()
        ask()
        result.seconds.append(time.perf_counter() - began)
    return {"selector_p50_ms": result.percentile(0.5), "selector_p99_ms": result.percentile(0.99)}


def _line(row: dict[str, Any]) -> str:
    figures = "".join(
        f"{row[name]:>10.2f}" if name in row else " " * 10
        for name in ("http_p50_ms", "http_p99_ms", "selector_p50_ms", "selector_p99_ms")
    )
    return f"{row['events']:>12,}  {row['question']:<44}{figures}  ms: HTTP p50, p99, selector p50, p99"
