import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from django.db import connection

from apps.catalog.models import BillableMetric, Product
from apps.metering.aggregations import REGISTRY as AGGREGATIONS
from apps.metering.eventstore import EventStore, event_store
from apps.metering.services.relaying import relay_events, start_relay
from tests.live import free_port
from tests.world import World, make_world

ROOT = Path(__file__).resolve().parent.parent.parent.parent


@pytest.fixture(scope="session")
def clickhouse_url() -> Iterator[str]:
    if find_spec("chdb") is None:
        pytest.skip("the engine is not installed: uv sync --group store")
    port = free_port()
    command = [sys.executable, "-m", "tests.metering.eventstore.server", str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    url = f"clickhouse://metergate:secret@127.0.0.1:{port}/default"
    try:
        end = time.monotonic() + 60
        while True:
            try:
                clickhouse_connect.get_client(dsn=url).close()
                break
            except (ClickHouseError, OSError):
                assert process.poll() is None
                assert time.monotonic() < end, "the engine does not start"
                time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def clickhouse(clickhouse_url: str, settings: Any) -> Iterator[EventStore]:
    settings.EVENT_STORE_URL = clickhouse_url
    store = event_store()
    start_relay(store=store)
    yield store
    client = clickhouse_connect.get_client(dsn=clickhouse_url)
    client.command("DROP TABLE IF EXISTS metering_event")
    client.close()


@pytest.fixture
def metrics() -> tuple[World, dict[str, BillableMetric]]:
    world = make_world()
    product = Product.objects.create(organization=world.merchant, name="p")
    return world, {
        code: BillableMetric.objects.create(
            organization=world.merchant, product=product, name=code, unit="u", aggregation=code, event_type="t",
            value_property="" if code == "COUNT" else "$.v", group_by={"g": "$.g"} if code != "MAX" else {},
        )
        for code in AGGREGATIONS
    }  # fmt: skip


@pytest.fixture(params=["postgresql", "clickhouse"])
def store(request: pytest.FixtureRequest) -> EventStore:
    if request.param == "clickhouse":
        request.getfixturevalue("clickhouse")
    assert str(request.param) == event_store().CODE
    return event_store()


def carry_over(store: EventStore, *, seconds: float = 60.0) -> None:
    """Relay until the store has everything, as the worker does; transactions of other tests may hold it up."""
    end = time.monotonic() + seconds
    while store.is_relayed and not _has_everything():
        relay_events(store=store)
        if time.monotonic() > end:
            return


def _has_everything() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT position >= coalesce(pg_sequence_last_value('metering_event_id_seq'), 0)
               AND NOT EXISTS (SELECT FROM metering_storechange)
            FROM metering_storeposition
            """
        )
        return bool(cursor.fetchone()[0])
