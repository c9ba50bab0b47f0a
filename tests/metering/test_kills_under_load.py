"""202 means committed: every part of a running instance is killed while events come, and each is counted once."""

import itertools
import json
import os
import random
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.live import free_port, running_stack

pytestmark = [pytest.mark.xdist_group("live"), pytest.mark.timeout(240)]

SENDERS = 6
BATCH = 50
PAUSE_SECONDS = 1.5
TYPE = "kill.test"


@pytest.fixture
def instance() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="metergate-kills-") as folder:
        Path(folder).chmod(0o711)
        with running_stack(Path(folder), free_port()) as facts:
            yield facts | {"var": folder}


def call(facts: dict[str, Any], path: str, body: Any = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        facts["base_url"] + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {facts['api_key']}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        return 0, str(error)


class Sender(threading.Thread):
    """Sends batches and single events, each again under the same keys until it is answered 202."""

    def __init__(self, facts: dict[str, Any], number: int, is_over: threading.Event) -> None:
        super().__init__(name=f"sender-{number}")
        self.facts, self.number, self.is_over = facts, number, is_over
        self.accepted = 0
        self.statuses: dict[int, int] = {}
        self.problem = ""

    def run(self) -> None:
        for turn in itertools.count():
            if self.is_over.is_set():
                return
            events = [self._event(turn, place) for place in range(1 if turn % 5 == 0 else BATCH)]
            path, body = ("/v0/events", events[0]) if len(events) == 1 else ("/v0/events/batch", events)
            end = time.monotonic() + 90
            while (found := call(self.facts, path, body))[0] != 202:
                self.statuses[found[0]] = self.statuses.get(found[0], 0) + 1
                if found[0] not in {0, 500, 502, 503} or time.monotonic() > end:
                    self.problem = str(found)
                    return
                time.sleep(0.1)
            self.accepted += len(events)

    def _event(self, turn: int, place: int) -> dict[str, Any]:
        return {
            "type": TYPE,
            "source": "test",
            "subject": f"cus_{place % 7}",
            "idempotencyKey": f"{self.number}-{turn}-{place}",
            "data": {"value": 1},
        }


def processes(var: str) -> dict[int, list[str]]:
    """Give the command lines of an instance's processes by number."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"VAR={var}".encode() in (folder / "environ").read_bytes().split(b"\x00"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().decode().split("\x00")
        except OSError:
            continue
    return found


def kill(var: str, word: str) -> None:
    """Kill one process whose command line has a word; which of several is left to chance."""
    fitting = [pid for pid, words in processes(var).items() if any(word in part for part in words)]
    assert fitting, (word, processes(var))
    os.kill(random.choice(fitting), signal.SIGKILL)


def kill_postgres(facts: dict[str, Any]) -> None:
    pid = int((Path(facts["var"]) / "postgres" / "18" / "postmaster.pid").read_text().split("\n")[0])
    os.kill(pid, signal.SIGKILL)


def lose_broker(facts: dict[str, Any]) -> None:
    broker = redis.Redis(unix_socket_path=str(Path(facts["var"]) / "run" / "valkey.sock"))
    broker.flushall()
    pid = int(broker.info("server")["process_id"])  # type: ignore[index]
    os.kill(pid, signal.SIGKILL)


def test_every_202_is_counted_once_whatever_is_killed(instance: dict[str, Any]) -> None:
    merchant = instance["merchant_id"]
    product = call(instance, "/v0/products", {"name": "Kill", "description": "", "merchantId": merchant})[1]["id"]
    metric = call(
        instance,
        "/v0/billableMetrics",
        {
            "name": "Killed", "description": "", "unit": "calls", "aggregation": "SUM", "eventType": TYPE,
            "valueProperty": "$.value", "productId": product, "merchantId": merchant,
        },
    )[1]["id"]  # fmt: skip
    is_over = threading.Event()
    senders = [Sender(instance, number, is_over) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    blows: list[Callable[[], None]] = [
        lambda: kill(instance["var"], "merger@"),
        lambda: kill(instance["var"], "granian"),
        lambda: kill_postgres(instance),
        lambda: lose_broker(instance),
        lambda: kill(instance["var"], "worker@"),
        lambda: kill(instance["var"], "merger@"),
        lambda: kill_postgres(instance),
        lambda: kill(instance["var"], "granian"),
    ]
    try:
        for blow in blows:
            time.sleep(PAUSE_SECONDS)
            blow()
        time.sleep(2 * PAUSE_SECONDS)
    finally:
        is_over.set()
        for sender in senders:
            sender.join(120)
    assert not any(sender.problem for sender in senders), [sender.problem for sender in senders]
    accepted = sum(sender.accepted for sender in senders)
    # The blows were felt, and there was load between them.
    assert any(sender.statuses for sender in senders)
    assert accepted > 1_000
    assert counted(instance, metric, expected=accepted) == accepted
    with psycopg.connect(f"postgresql://metergate@/metergate?host={instance['var']}/run") as database:
        row = database.execute(
            "SELECT count(*), count(DISTINCT idempotency_key) FROM metering_event WHERE event_type = %s", [TYPE]
        ).fetchone()
        assert row == (accepted, accepted)
        assert database.execute("SELECT count(*) FROM metering_deadletter").fetchone() == (0,)


def counted(facts: dict[str, Any], metric: str, *, expected: int) -> int:
    """Read usage until it is what is expected, or for a while: workers that were killed have to come back."""
    end = time.monotonic() + 60
    total = -1
    while total != expected and time.monotonic() < end:
        status, answer = call(
            facts, f"/v0/billableMetrics/{metric}/meter?from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
        )
        total = int(answer["totalValue"]) if status == 200 else -1
        time.sleep(0.5)
    return total
