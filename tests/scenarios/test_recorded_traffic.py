"""Recorded traffic of two services, imported for two customers of one plan, billed to the cent."""

from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

from apps.metering.models import MeterEvent
from tests.world import World

pytestmark = pytest.mark.django_db

FILES = {
    "azure_llm_2023_code.csv": (8_819, 18_059_974, 245_896, "36.12", "1.48", "86.60"),
    "azure_llm_2023_conv.csv": (19_366, 22_361_870, 4_088_665, "44.72", "24.53", "118.25"),
}
DAY = "from=2023-11-16T00:00:00Z&to=2023-11-17T00:00:00Z"


def _import(world: World, file: Path, customer: str) -> None:
    call_command(
        "import_events",
        str(file),
        organization=world.id,
        set=["type=ai.inference", f"subject={customer}"],
        map=["timestamp=TIMESTAMP", "data.input=ContextTokens", "data.output=GeneratedTokens"],
        report=None,
        key=None,
    )


@pytest.mark.realdata
def test_two_services_are_billed_exactly(world: World) -> None:
    folder = settings.SHARED_DIR / "data"
    if not folder.is_dir():
        pytest.skip(f"recorded traffic is not on this machine ({folder}); set METERGATE_SHARED to where it is")
    product = world.product()
    metrics = [world.metric(product, path="$.input"), world.metric(product, path="$.output")]
    plan = world.plan(
        product,
        [
            world.fee_price(product),
            world.usage_price(metrics[0], "0.000002"),
            world.usage_price(metrics[1], "0.000006"),
        ],
    )
    clock = world.clock("2023-11-16T00:00:00Z")
    subscriptions = {}
    for name, (rows, tokens_in, tokens_out, *_) in FILES.items():
        customer = world.customer()
        subscription = world.subscribe(customer, plan, at="2023-11-16T00:00:00Z", clock=clock)
        world.pay(subscription["payment"]["invoiceId"])
        subscriptions[name] = subscription["id"]
        _import(world, folder / name, customer)
        for metric, expected in zip(metrics, (tokens_in, tokens_out), strict=True):
            answer = world.api.get(f"/v0/billableMetrics/{metric}/meter?{DAY}&subject={customer}&windowSize=HOUR")
            assert answer["totalValue"] == expected
            assert sum(window["value"] for window in answer["windowedValues"]) == expected
        listed = world.api.get(f"/v0/billableMetrics/{metrics[0]}/events?{DAY}&subject={customer}")
        assert listed["pagination"]["total"] == rows
    assert MeterEvent.objects.count() == 8_819 + 19_366

    world.advance(clock, "2023-12-17T00:00:00Z")
    for name, (*_, line_in, line_out, total) in FILES.items():
        invoice = world.invoices(subscriptions[name])[1]
        assert invoice["status"] == "ISSUED"
        assert invoice["grandTotal"] == total
        assert world.amounts(invoice["id"]) == sorted([Decimal(line_in), Decimal(line_out), Decimal("49.00")])


def test_importing_twice_counts_once(world: World, tmp_path: Path) -> None:
    product = world.product()
    metric = world.metric(product, path="$.input")
    customer = world.customer()
    file = tmp_path / "small.csv"
    same = "2023-11-16 18:17:03.9799600,10,1\n"
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + same * 3 + "2023-11-16 19:00:00.0000001,5,2\n")
    for _ in range(2):
        _import(world, file, customer)
    # Three equal rows are three requests; the second run adds none.
    answer = world.api.get(f"/v0/billableMetrics/{metric}/meter?{DAY}&subject={customer}")
    assert answer["totalValue"] == 35
    # The same rows in a longer file are still the same rows.
    longer = tmp_path / "longer.csv"
    longer.write_text(file.read_text() + "2023-11-16 20:00:00.0000000,100,2\n")
    longer = longer.rename(tmp_path / "small.csv")
    _import(world, longer, customer)
    answer = world.api.get(f"/v0/billableMetrics/{metric}/meter?{DAY}&subject={customer}")
    assert answer["totalValue"] == 135


def test_rejected_rows_are_reported_with_line_and_reason(world: World, tmp_path: Path) -> None:
    product = world.product()
    world.metric(product, path="$.input")
    file = tmp_path / "bad.csv"
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:00:00,10,1\n"
        "not a time,10,1\n"
        "2023-11-16 18:00:00,many,1\n"
    )
    _import(world, file, "cus_x")
    report = (tmp_path / "bad.csv.rejected.csv").read_text().splitlines()
    assert report[0] == "line,field,reason"
    assert report[1].startswith("3,timestamp,")
    assert report[2].startswith("4,data.input,")
    assert MeterEvent.objects.count() == 1
