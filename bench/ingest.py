"""From an HTTP request to usage that is counted: events a second, latency, and the share of the database's limit."""

import argparse
import json
import statistics
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from bench.limits import Limits, measure_limits
from bench.load import LoadResult, make_request, send_all
from bench.stack import running_stack, settings_of

TYPE = "bench.call"
TEMPLATE = (
    '{"type":"' + TYPE + '","source":"bench","subject":"%(subject)s","timestamp":"%(time)s",'
    '"idempotencyKey":"%(key)s","data":{"model":"%(model)s","input":%(input)d,"output":%(output)d}}'
)
MODELS = 4
# All of a run's events tell of one hour, so that a case touches the windows it says; older ones would be parked.
HOUR = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H")


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load: events a request (0: the single-event call) and how many windows they touch."""

    name: str
    batch: int
    windows: int
    events: int


@dataclass(slots=True)
class Measured:
    """One round of a case."""

    accepted: float
    end_to_end: float
    p50: float
    p99: float
    limits: Limits | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=200_000, help="events of each batch case")
    parser.add_argument("--singles", type=int, default=20_000, help="events of the single-event case")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="run the cases whose name contains this")
    parser.add_argument("--url", help="drive another system: its address")
    parser.add_argument("--token", default="", help="drive another system: its bearer token")
    parser.add_argument("--path", default="/v0/events/batch", help="drive another system: where a batch is sent")
    parser.add_argument("--template", help="drive another system: file with one event, %%(key)s … filled in")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure every case and print a table; another system's address is only driven, not looked into."""
    cases = [
        Case("batches of 100", 100, 2_000, arguments.events),
        Case("batches of 1,000", 1_000, 2_000, arguments.events),
        Case("batches of 1,000, 150,000 windows", 1_000, 150_000, arguments.events),
        Case("single events", 0, 2_000, arguments.singles),
    ]
    cases = [case for case in cases if arguments.only is None or arguments.only in case.name]
    if arguments.url:
        return _drive_another(arguments, cases)
    with running_stack() as facts, psycopg.connect(facts["database_url"], autocommit=True) as database:
        settings = settings_of(database)
        print(f"settings: {json.dumps(settings)}")
        make_metrics(facts)
        warm_up(facts)
        wait_until_merged(database)
        found: dict[str, list[Measured]] = {}
        for case in cases:
            for turn in range(arguments.rounds):
                measured = _measure(case, turn, facts, database, arguments.connections)
                found.setdefault(case.name, []).append(measured)
        memory = _memory_of_mergers(facts["var"])
    return _report(found, settings | {"merger_mb": str(memory)}, arguments)


def _measure(
    case: Case, turn: int, facts: dict[str, Any], database: psycopg.Connection[Any], connections: int
) -> Measured:
    tag = f"{case.batch}-{case.windows}-{turn}-{time.time_ns()}"
    requests, expected = make_requests(case, tag, facts["base_url"], facts["api_key"], TEMPLATE, "/v0/events/batch")
    before, merged = _counted(database), _merged(database)
    began = time.perf_counter()
    # A single event waits for its commit, which it shares with those of other connections.
    result = send_all(facts["base_url"], requests, connections=connections if case.batch else 4 * connections)
    # Looking into staging again and again would take a core from the merges: it reads past all that they took.
    while _merged(database) < merged + case.events and time.perf_counter() < began + 300:
        time.sleep(0.005)
    wait_until_merged(database)
    elapsed = time.perf_counter() - began
    if set(result.statuses) != {202}:
        raise RuntimeError(f"answers were {result.statuses}")
    if (got := _counted(database) - before) != expected:
        raise RuntimeError(f"counted {got}, sent {expected}")
    measured = Measured(
        accepted=case.events / result.elapsed,
        end_to_end=case.events / elapsed,
        p50=result.percentile(0.5),
        p99=result.percentile(0.99),
    )
    if case.batch == 1_000:
        measured.limits = measure_limits(facts["database_url"], database, f"{tag}-")
    limits = measured.limits
    print(
        f"{case.name}, round {turn + 1}: accepted {measured.accepted:,.0f}/s,"
        f" end to end {measured.end_to_end:,.0f}/s,"
        f" p50 {measured.p50:.1f} ms, p99 {measured.p99:.1f} ms"
        + (f"; bare merge {limits.merge:,.0f}/s, bare COPY {limits.copy:,.0f}/s" if limits else ""),
        flush=True,
    )
    return measured


def make_requests(case: Case, tag: str, url: str, token: str, template: str, path: str) -> tuple[list[bytes], int]:
    """Give ready-made requests and the sum of input tokens that they report."""
    events = list(_events(case, tag, template))
    expected = sum(100 + number % 900 for number in range(case.events))
    if case.batch == 0:
        return [make_request(url, "/v0/events", token, event.encode()) for event in events], expected
    bodies = ["[" + ",".join(events[start : start + case.batch]) + "]" for start in range(0, len(events), case.batch)]
    return [make_request(url, path, token, body.encode()) for body in bodies], expected


def _events(case: Case, tag: str, template: str) -> Iterator[str]:
    # Two metrics and four models: a subject has eight windows an hour.
    combinations = case.windows // 2
    for number in range(case.events):
        combination = (number * 7919) % combinations
        yield template % {
            "subject": f"bench-{combination // MODELS}",
            "time": f"{HOUR}:{number % 60:02d}:{number // 60 % 60:02d}Z",
            "key": f"{tag}-{number}",
            "model": f"model-{combination % MODELS}",
            "input": 100 + number % 900,
            "output": 10 + number % 90,
        }


def make_metrics(facts: dict[str, Any]) -> list[str]:
    """Make the two metrics that the events feed; gives their ids."""
    product = call_api(
        facts, "/v0/products", {"name": "Bench", "description": "", "merchantId": facts["merchant_id"]}
    )
    made = []
    for name in ("input", "output"):
        metric = call_api(
            facts,
            "/v0/billableMetrics",
            {
                "name": f"Bench {name}", "description": "", "unit": "tokens", "aggregation": "SUM",
                "eventType": TYPE, "valueProperty": f"$.{name}", "groupBy": {"model": "$.model"},
                "productId": product["id"], "merchantId": facts["merchant_id"],
            },
        )  # fmt: skip
        made.append(str(metric["id"]))
    return made


def call_api(facts: dict[str, Any], path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST a body and give the decoded answer."""
    request = urllib.request.Request(
        facts["base_url"] + path,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {facts['api_key']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        decoded: dict[str, Any] = json.loads(answer.read())
        return decoded


def warm_up(facts: dict[str, Any]) -> None:
    """Let the processes open their connections and fill their caches."""
    case = Case("warm-up", 100, 2_000, 4_000)
    requests, _ = make_requests(case, f"warm-{time.time_ns()}", facts["base_url"], facts["api_key"], TEMPLATE,
                            "/v0/events/batch")  # fmt: skip
    send_all(facts["base_url"], requests, connections=8)


def _counted(database: psycopg.Connection[Any]) -> int:
    found = database.execute(
        "SELECT coalesce(sum(w.sum), 0) FROM metering_window w JOIN catalog_billablemetric m ON m.id = w.metric_id"
        " WHERE m.name = 'Bench input'"
    ).fetchone()
    assert found is not None
    return int(found[0])


def _merged(database: psycopg.Connection[Any]) -> int:
    """Give how many events all merges counted so far, as they say themselves."""
    found = database.execute("SELECT sum(merged) FROM metering_bucket").fetchone()
    assert found is not None
    return int(found[0])


def wait_until_merged(database: psycopg.Connection[Any]) -> None:
    """Return when staging is empty."""
    end = time.monotonic() + 300
    while True:
        found = database.execute("SELECT EXISTS (SELECT FROM metering_stagedevent)").fetchone()
        assert found is not None
        if not found[0]:
            return
        if time.monotonic() > end:
            raise RuntimeError("staging is not empty after five minutes")
        threading.Event().wait(0.01)


def _memory_of_mergers(var: str) -> int:
    """Give the resident megabytes of the largest merge worker process."""
    from pathlib import Path

    largest = 0
    for folder in Path("/proc").iterdir():
        try:
            if b"merger@" in (folder / "cmdline").read_bytes() and var.encode() in (folder / "environ").read_bytes():
                pages = int((folder / "statm").read_text().split()[1])
                largest = max(largest, pages * 4096 >> 20)
        except (OSError, IndexError, ValueError):
            continue
    return largest


def _report(
    found: dict[str, list[Measured]], settings: dict[str, str], arguments: argparse.Namespace
) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    print(f"\n{'median of ' + str(arguments.rounds):<36}{'accepted/s':>12}{'end to end/s':>14}{'min–max':>18}"
          f"{'p50 ms':>8}{'p99 ms':>8}{'of merge':>10}{'of COPY':>9}")  # fmt: skip
    for name, rounds in found.items():
        rates = [measured.end_to_end for measured in rounds]
        row: dict[str, Any] = {
            "accepted": statistics.median(measured.accepted for measured in rounds),
            "end_to_end": statistics.median(rates),
            "p50_ms": statistics.median(measured.p50 for measured in rounds),
            "p99_ms": statistics.median(measured.p99 for measured in rounds),
        }
        limited = [measured for measured in rounds if measured.limits is not None]
        if limited:
            row["share_of_bare_merge"] = statistics.median(
                m.end_to_end / m.limits.merge for m in limited if m.limits is not None
            )
            row["share_of_bare_copy"] = statistics.median(
                m.end_to_end / m.limits.copy for m in limited if m.limits is not None
            )
        rows[name] = row
        spread = f"{min(rates):,.0f}–{max(rates):,.0f}"
        print(
            f"{name:<36}{row['accepted']:>12,.0f}{row['end_to_end']:>14,.0f}{spread:>18}{row['p50_ms']:>8.1f}"
            f"{row['p99_ms']:>8.1f}{row.get('share_of_bare_merge', 0):>10.2f}{row.get('share_of_bare_copy', 0):>9.2f}"
        )
    print(f"largest merge worker process: {settings['merger_mb']} MB")
    return {"settings": settings, "cases": rows}


def _drive_another(arguments: argparse.Namespace, cases: list[Case]) -> dict[str, Any]:
    template = TEMPLATE
    if arguments.template:
        with open(arguments.template, encoding="utf-8") as file:
            template = file.read().strip()
    rows: dict[str, Any] = {}
    for case in cases:
        # The last request of a case may hold fewer events: what is counted is whole requests.
        case = replace(case, events=case.events - case.events % max(case.batch, 1))
        results: list[LoadResult] = []
        for turn in range(arguments.rounds):
            tag = f"{case.batch}-{turn}-{time.time_ns()}"
            requests, _ = make_requests(case, tag, arguments.url, arguments.token, template, arguments.path)
            results.append(send_all(arguments.url, requests, connections=arguments.connections))
        rows[case.name] = row = _accepted(case, results)
        answers = sum((Counter(result.statuses) for result in results), Counter())
        rate, p99 = row["accepted"], row["p99_ms"]
        print(f"{case.name:<36}{rate:>12,.0f} accepted/s, p99 {p99:.1f} ms, answers {dict(answers)}", flush=True)
    return {"cases": rows}


def _accepted(case: Case, results: list[LoadResult]) -> dict[str, float]:
    """Give the rate of what was taken, whatever else was answered, and the latency: medians of the rounds."""
    rates = []
    for result in results:
        taken = sum(count for status, count in result.statuses.items() if 200 <= status < 300)
        rates.append(taken * max(case.batch, 1) / result.elapsed)
    return {
        "accepted": statistics.median(rates),
        "p99_ms": statistics.median(result.percentile(0.99) for result in results),
    }
