"""Checking rights: one question a call over eight connections, beside a bare Django view with one SELECT.

Both are asked in turns in the same run: with one grant and with a hundred, and with more and more usage behind.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from bench.ingest import MODELS, TYPE, call_api, make_metrics
from bench.load import LoadResult, make_request, send_all
from bench.stack import ROOT, running_stack, settings_of
from bench.usage import EVENTS, SUBJECTS, WINDOWS
from config.stack.servers import free_port

SIZES = (10_000, 10_000_000)
GRANTS = (1, 100)
PATH = "/v1/entitlements/check"
# Of these days is the usage; each of those who are asked for has every tenth event.
DAYS = 20
SHARE = 10
GRANTED = 900_000_000
STEP = 1_000_000

# Event number n, always the same: who, when, which model, how much. A prime step spreads them over the days.
NUMBERED = f"""
SELECT n, CASE WHEN n %% {SHARE} < {len(GRANTS)} THEN (%(asked)s::bigint[])[1 + n %% {SHARE}]
          ELSE (%(subjects)s::bigint[])[1 + n %% {SUBJECTS}] END AS subject,
       %(start)s::timestamptz + (n * 7919 %% %(seconds)s) * interval '1 second' AS at,
       (%(dimensions)s::bigint[])[1 + n / 7 %% {MODELS}] AS dimension, (100 + n %% 900)::numeric AS value
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked for: a customer with a right of so many grants."""

    grants: int
    customer: str
    feature: str

    def question(self, **more: Any) -> dict[str, Any]:
        return {"questions": [{"customerId": self.customer, "featureId": self.feature, "quantity": 1, **more}]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, nargs="+", default=list(SIZES), help="events behind, from few to many")
    parser.add_argument("--calls", type=int, default=4_000, help="calls of a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of the check and of the bare view in turns")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=400, help="reservations to settle")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask both servers in turns at each size; print p50, p99, ratios, and reservations settled a second."""
    with (
        running_stack() as facts,
        psycopg.connect(facts["database_url"], autocommit=True) as database,
        _bare_view(facts) as bare,
    ):
        settings = settings_of(database)
        print(f"settings: {json.dumps(settings)}")
        os.environ["DATABASE_URL"] = facts["database_url"]
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
        import django

        django.setup()
        everybody, values = _prepare(facts, database)
        rows, stored = [], 0
        for size in sorted(arguments.events):
            _fill(database, values, stored, size)
            stored = size
            for asked in everybody:
                _check_balance(facts, asked, size)
                rows.append({"events": size, "grants": asked.grants, **_compare(facts, bare, asked, arguments)})
                print(_line(rows[-1]), flush=True)
        pairs = _settle_pairs(facts, everybody[0], arguments)
        print(", ".join(f"{name} {value:,.2f}" for name, value in pairs.items()))
    return {"settings": settings, "rows": rows, "pairs": pairs}


@contextmanager
def _bare_view(facts: dict[str, Any]) -> Iterator[str]:
    """Serve the bare view as the stack serves its own, on the same database; gives its address."""
    port = free_port(9400)
    command = [
        sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "2", "--blocking-threads", "16", "--no-ws", "--log-level", "warning", "bench.bare:application",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "DATABASE_URL": facts["database_url"]})
    url = f"http://127.0.0.1:{port}"
    body = Asked(0, "cus_nobody", "feat_nothing").question()
    try:
        end = time.monotonic() + 60
        while True:
            try:
                call_api({"base_url": url, "api_key": "-"}, PATH, body)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _prepare(facts: dict[str, Any], database: psycopg.Connection[Any]) -> tuple[list[Asked], dict[str, Any]]:
    from apps.metering.services.interning import intern_dimensions, intern_subjects

    make_metrics(facts)
    found = database.execute(
        "SELECT m.id, m.public_id, m.organization_id, p.public_id FROM catalog_billablemetric m"
        " JOIN catalog_product p ON p.id = m.product_id WHERE m.name = 'Bench input'"
    ).fetchone()
    assert found is not None
    metric, metric_id, organization, product = found
    start = datetime.now(UTC).replace(minute=20, second=0, microsecond=0) - timedelta(days=DAYS)
    everybody = [_make_right(facts, product, metric_id, grants, start) for grants in GRANTS]
    names = [asked.customer for asked in everybody] + [f"bench-{n}" for n in range(SUBJECTS)]
    subjects = intern_subjects([(organization, False, name) for name in names])
    dimensions = intern_dimensions([(organization, metric, ("model",), (f"model-{n}",)) for n in range(MODELS)])
    numbers = [subjects[organization, False, name] for name in names]
    return everybody, {
        "organization": organization, "metric": metric, "start": start,
        "seconds": int((datetime.now(UTC) - start).total_seconds()) - 60,
        "asked": numbers[: len(GRANTS)], "subjects": numbers[len(GRANTS) :], "dimensions": list(dimensions.values()),
    }  # fmt: skip


def _make_right(facts: dict[str, Any], product: str, metric: str, grants: int, start: datetime) -> Asked:
    """Give a customer a right of a plan, and grants that begin one after the other."""
    merchant = facts["merchant_id"]
    consumer = {"name": f"Bench {grants}", "email": f"ap-{grants}@bench.test", "address": {"country": "FR"}}
    customer = call_api(facts, "/v0/customers", {"merchantId": merchant, "consumer": consumer})["customerId"]
    feature = call_api(facts, "/v0/features", {
        "key": f"tokens-{grants}", "name": "Tokens", "merchantId": merchant, "productId": product, "type": "metered",
    })["id"]  # fmt: skip
    price = call_api(facts, "/v0/prices", {
        "invoiceDisplayName": "Tokens", "paymentTerm": "in_arrears", "model": "standard", "billableMetricId": metric,
        "properties": {"unitPrice": "0.000002"}, "feature": {"featureId": feature, "entitlementTemplate": {}},
    })["id"]  # fmt: skip
    plan = call_api(facts, "/v0/plans", {
        "name": f"Bench {grants}", "currency": "USD", "billingCadence": "P1M", "productId": product,
        "merchantId": merchant, "prices": [price],
    })["id"]  # fmt: skip
    at = start.strftime("%Y-%m-%dT%H:%M:%SZ")
    call_api(facts, "/v0/subscriptions", {
        "name": "Bench", "planId": plan, "customerId": customer, "startedAt": at,
    })  # fmt: skip
    with _get(facts, f"/v1/entitlements?customerId={customer}") as found:
        right = found["data"][0]["entitlementId"]
    for n in range(grants):
        effective = start + timedelta(days=DAYS - 1) * n / grants
        call_api(facts, f"/v1/entitlements/{right}/grants", {
            "amount": GRANTED // grants, "idempotencyKey": f"bench-{n}", "priority": n % 7,
            "effectiveAt": effective.strftime("%Y-%m-%dT%H:%M:%SZ"),
        })  # fmt: skip
    return Asked(grants, customer, feature)


@contextmanager
def _get(facts: dict[str, Any], path: str) -> Iterator[dict[str, Any]]:
    split = urlsplit(facts["base_url"])
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {facts['api_key']}"})
        yield json.loads(connection.getresponse().read())
    finally:
        connection.close()


def _fill(database: psycopg.Connection[Any], values: dict[str, Any], stored: int, size: int) -> None:
    began = time.perf_counter()
    for first in range(stored, size, STEP):
        numbers = {"first": first, "last": min(first + STEP, size) - 1}
        with database.transaction():
            for statement in (EVENTS, WINDOWS):
                database.execute(statement.format(numbered=NUMBERED, type=TYPE), values | numbers)
    for table in ("metering_event", "metering_window"):
        database.execute(f"VACUUM (ANALYZE) {table}")
    database.execute("CHECKPOINT")
    print(f"{size:,} events stored ({time.perf_counter() - began:,.0f} s)", flush=True)


def _check_balance(facts: dict[str, Any], asked: Asked, size: int) -> None:
    """The answer is what the grants gave, less what the events used."""
    place = GRANTS.index(asked.grants)
    expected = GRANTED - sum(100 + number % 900 for number in range(place, size, SHARE))
    (answer,) = call_api(facts, PATH, asked.question())["data"]
    if not answer["allowed"] or answer["balance"] != expected:
        raise RuntimeError(f"expected a balance of {expected:,}, the answer was {answer}")


def _compare(facts: dict[str, Any], bare: str, asked: Asked, arguments: argparse.Namespace) -> dict[str, float]:
    body = json.dumps(asked.question()).encode()
    servers = {
        "check": (facts["base_url"], make_request(facts["base_url"], PATH, facts["api_key"], body)),
        "bare": (bare, make_request(bare, PATH, facts["api_key"], body)),
    }
    found: dict[str, list[LoadResult]] = {name: [] for name in servers}
    costs: dict[str, list[float]] = {name: [] for name in servers}
    for number in range(arguments.rounds + 1):
        for name, (url, request) in servers.items():
            before = _cpu_seconds(facts["var"])
            result = send_all(url, [request] * arguments.calls, connections=arguments.connections)
            cpu = sum(max(used - before.get(pid, 0.0), 0.0) for pid, used in _cpu_seconds(facts["var"]).items())
            if set(result.statuses) != {200}:
                raise RuntimeError(f"answers of {name} were {result.statuses}")
            # The first round opens connections and fills caches.
            if number:
                found[name].append(result)
                costs[name].append(cpu / arguments.calls * 1e6)
    figures: dict[str, float] = {}
    for name, results in found.items():
        figures[f"{name}_p50_ms"] = statistics.median(result.percentile(0.5) for result in results)
        figures[f"{name}_p99_ms"] = statistics.median(result.percentile(0.99) for result in results)
        figures[f"{name}_cpu_us"] = statistics.median(costs[name])
        figures[f"{name}_per_second"] = statistics.median(len(r.seconds) / r.elapsed for r in results)
    figures["cpu_ratio"] = statistics.median(a / b for a, b in zip(costs["check"], costs["bare"], strict=True))
    for name in ("p50", "p99"):
        pairs = zip(found["check"], found["bare"], strict=True)
        share = 0.5 if name == "p50" else 0.99
        figures[f"{name}_ratio"] = statistics.median(a.percentile(share) / b.percentile(share) for a, b in pairs)
    return figures


def _cpu_seconds(var: str) -> dict[str, float]:
    """Give what each process of this instance used of the processors, servers and the bare view among them."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or folder.name == str(os.getpid()):
            continue
        # It may have ended meanwhile.
        with suppress(OSError):
            is_ours = str((folder / "cwd").readlink()).startswith(var) or var in (folder / "environ").read_text(
                "latin-1"
            )
            if is_ours:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                found[folder.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def _settle_pairs(facts: dict[str, Any], asked: Asked, arguments: argparse.Namespace) -> dict[str, float]:
    """Reserve, send the event, settle: so many times, over so many connections at once."""
    split = urlsplit(facts["base_url"])
    headers = {"Authorization": f"Bearer {facts['api_key']}", "Content-Type": "application/json"}
    seconds: dict[str, list[float]] = {"reserve": [], "settle": []}
    failures: list[BaseException] = []
    retries = 0

    def call(connection: http.client.HTTPConnection, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def work(worker: int) -> None:
        nonlocal retries
        connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
        try:
            for n in range(arguments.pairs // arguments.connections):
                began = time.perf_counter()
                _, answer = call(connection, PATH, asked.question(reserveSeconds=60))
                reservation = answer["data"][0]["reservation"]["id"]
                seconds["reserve"].append(time.perf_counter() - began)
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                status, _ = call(connection, "/v0/events", {
                    "type": TYPE, "source": "bench", "subject": asked.customer, "timestamp": now,
                    "idempotencyKey": f"pair-{worker}-{n}", "data": {"input": 1, "output": 0, "model": "model-0"},
                })  # fmt: skip
                began = time.perf_counter()
                while (found := call(connection, f"/v1/reservations/{reservation}/settlement", {}))[0] == 503:
                    retries += 1
                seconds["settle"].append(time.perf_counter() - began)
                if (status, found[0]) != (202, 200):
                    raise RuntimeError(f"an event was answered {status}, a settlement {found}")
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    before = call_api(facts, PATH, asked.question())["data"][0]
    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(arguments.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - began
    if failures:
        raise failures[0]
    after = call_api(facts, PATH, asked.question())["data"][0]
    done = len(seconds["settle"])
    if after["held"] or before["balance"] - after["balance"] != done:
        raise RuntimeError(f"{done} units were used; before {before}, after {after}")
    figures = {"pairs_per_second": done / elapsed, "settlements_asked_again": float(retries)}
    for name, times in seconds.items():
        result = LoadResult(seconds=times)
        figures |= {f"{name}_p50_ms": result.percentile(0.5), f"{name}_p99_ms": result.percentile(0.99)}
    return figures


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['events']:>12,} events, {row['grants']:>3} grants: "
        f"check {row['check_p50_ms']:.2f} / {row['check_p99_ms']:.2f} ms, {row['check_per_second']:,.0f}/s;"
        f" bare {row['bare_p50_ms']:.2f} / {row['bare_p99_ms']:.2f} ms, {row['bare_per_second']:,.0f}/s;"
        f" ratio {row['p50_ratio']:.2f} / {row['p99_ratio']:.2f};"
        f" processor time {row['check_cpu_us']:,.0f} and {row['bare_cpu_us']:,.0f} us, ratio {row['cpu_ratio']:.2f}"
    )
