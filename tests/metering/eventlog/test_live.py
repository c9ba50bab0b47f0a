"""The whole stack with the log in front: web processes append, the consumer stages, the merger counts."""

import json
import tempfile
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from apps.kernel.time import floor_hour, format_instant
from tests.live import free_port, running_stack
from tests.metering.eventlog.cluster import Cluster

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("nats")]


@pytest.fixture
def facts(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setenv("EVENT_LOG_URL", cluster.url)
    monkeypatch.setenv("EVENT_LOG_STREAM", "live")
    with tempfile.TemporaryDirectory(prefix="metergate-live-") as folder:
        Path(folder).chmod(0o711)
        with running_stack(Path(folder), free_port()) as found:
            yield found
    cluster.delete_streams("live")


def call(facts: dict[str, Any], path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        facts["base_url"] + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {facts['api_key']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_events_go_through_the_log_and_are_counted(facts: dict[str, Any], cluster: Cluster) -> None:
    merchant = facts["merchant_id"]
    product = call(facts, "/v0/products", {"name": "Log", "description": "", "merchantId": merchant})["id"]
    metric = call(
        facts,
        "/v0/billableMetrics",
        {
            "name": "Log", "description": "", "unit": "u", "aggregation": "SUM", "eventType": "log.call",
            "valueProperty": "$.v", "productId": product, "merchantId": merchant,
        },
    )["id"]  # fmt: skip
    hour = floor_hour(datetime.now(UTC))
    event = {"type": "log.call", "source": "s", "subject": "cus_x", "timestamp": format_instant(hour)}
    ends = f"from={format_instant(hour)}&to={format_instant(hour + timedelta(hours=1))}"
    question = f"/v0/billableMetrics/{metric}/meter?{ends}&consistent=true"
    for turn in range(5):
        batch = [{**event, "idempotencyKey": f"b{turn}-{n}", "data": {"v": 2}} for n in range(100)]
        assert call(facts, "/v0/events/batch", batch)["accepted"] == 100
        call(facts, "/v0/events", {**event, "idempotencyKey": f"s{turn}", "data": {"v": 1}})
        assert call(facts, question)["totalValue"] == 201 * (turn + 1)
    assert cluster.messages_in("live") == (0, 10)
