"""From a 202 to usage that shows it: the wait of single events while others keep the machine half busy."""

import argparse
import json
import threading
import time
import urllib.request
from typing import Any

import psycopg

from bench.ingest import HOUR, TEMPLATE, Case, make_metrics, make_requests, wait_until_merged, warm_up
from bench.load import LoadResult, send_all
from bench.stack import running_stack, settings_of

POLL_SECONDS = 0.002
GIVE_UP_SECONDS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--load", type=int, default=25_000, help="events a second that others send, in batches of 100"
    )
    parser.add_argument("--seconds", type=int, default=20, help="how long")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between the events that are watched")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure without load and with it, and print a line for each."""
    rows: dict[str, Any] = {}
    with running_stack() as facts, psycopg.connect(facts["database_url"], autocommit=True) as database:
        settings = settings_of(database)
        print(f"settings: {json.dumps(settings)}")
        metric = make_metrics(facts)[0]
        warm_up(facts)
        wait_until_merged(database)
        for load in (0, arguments.load):
            watched = _measure(facts, database, metric, load, arguments)
            p50, p99 = watched.percentile(0.5), watched.percentile(0.99)
            rows[str(load)] = {"p50_ms": p50, "p99_ms": p99, "events": len(watched.seconds)}
            print(
                f"beside {load:,} events/s: 202 to visible p50 {p50:.0f} ms, p99 {p99:.0f} ms,"
                f" largest {max(watched.seconds) * 1000:.0f} ms, of {len(watched.seconds)} events",
                flush=True,
            )
            wait_until_merged(database)
    return {"settings": settings, "loads": rows}


def _measure(
    facts: dict[str, Any],
    database: psycopg.Connection[Any],
    metric: str,
    load: int,
    arguments: argparse.Namespace,
) -> LoadResult:
    watched = LoadResult()
    if not load:
        end = time.monotonic() + arguments.seconds / 2
        _watch(facts, database, metric, watched, lambda: time.monotonic() > end, arguments.pause)
        return watched
    case = Case("half load", 100, 2_000, load * arguments.seconds)
    requests, _ = make_requests(
        case, f"load-{time.time_ns()}", facts["base_url"], facts["api_key"], TEMPLATE, "/v0/events/batch"
    )
    is_over = threading.Event()
    failures: list[BaseException] = []

    def send() -> None:
        try:
            result = send_all(facts["base_url"], requests, connections=8, per_second=load / case.batch)
            if set(result.statuses) != {202}:
                raise RuntimeError(f"answers were {result.statuses}")
            print(f"sent {case.events / result.elapsed:,.0f} events/s", flush=True)
        except BaseException as error:
            failures.append(error)
        finally:
            is_over.set()

    sender = threading.Thread(target=send)
    sender.start()
    _watch(facts, database, metric, watched, is_over.is_set, arguments.pause)
    sender.join()
    if failures:
        raise failures[0]
    return watched


def _watch(
    facts: dict[str, Any],
    database: psycopg.Connection[Any],
    metric: str,
    watched: LoadResult,
    is_over: Any,
    pause: float,
) -> None:
    """Send an event of a subject of its own, and stop the time when usage over the API has it.

    The database says when to ask, so that asking costs the machine next to nothing.
    """
    number = 0
    while not is_over():
        number += 1
        subject = f"watched-{time.time_ns()}"
        event = TEMPLATE % {
            "subject": subject, "time": f"{HOUR}:30:00Z", "key": subject, "model": "m", "input": number, "output": 1,
        }  # fmt: skip
        _call(facts, "/v0/events", event.encode())
        began = time.perf_counter()
        while not _is_counted(database, subject):
            if time.perf_counter() - began > GIVE_UP_SECONDS:
                raise RuntimeError(f"{subject} is not counted after {GIVE_UP_SECONDS} s")
            time.sleep(POLL_SECONDS)
        path = f"/v0/billableMetrics/{metric}/meter?subject={subject}&from={HOUR}:00:00Z&to={HOUR}:59:00Z"
        total = json.loads(_call(facts, path))["totalValue"]
        watched.seconds.append(time.perf_counter() - began)
        if total != number:
            raise RuntimeError(f"usage of {subject} is {total}, sent {number}")
        time.sleep(pause)


def _is_counted(database: psycopg.Connection[Any], subject: str) -> bool:
    found = database.execute(
        "SELECT EXISTS (SELECT FROM metering_subject s JOIN metering_window w ON w.subject_id = s.id"
        " AND w.metric_id = (SELECT id FROM catalog_billablemetric WHERE name = 'Bench input') WHERE s.value = %s)",
        [subject],
    ).fetchone()
    return found is not None and bool(found[0])


def _call(facts: dict[str, Any], path: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(
        facts["base_url"] + path,
        data=body,
        headers={"Authorization": f"Bearer {facts['api_key']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: bytes = answer.read()
        return found
