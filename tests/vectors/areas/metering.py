from datetime import UTC, datetime, timedelta
from typing import Any

from apps.kernel.money import round_to
from apps.kernel.time import Period, format_instant, parse_instant
from apps.metering.aggregations import CountedEvent, get
from apps.rating.pipeline import rate_part
from apps.rating.price_models.standard import StandardPrice
from tests.vectors.areas.common import Skip, cents, number

NAMES = {
    "sum": "SUM", "count": "COUNT", "avg": "AVG", "average": "AVG", "min": "MIN", "max": "MAX", "latest": "LATEST",
    "unique": "UNIQUE_COUNT", "unique_count": "UNIQUE_COUNT",
}  # fmt: skip
START = datetime(2024, 1, 1, tzinfo=UTC)


def basic(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "values_oldest_first" not in inputs or inputs.get("recurring") or inputs["aggregation"] not in NAMES:
        raise Skip("recurring metrics and their operations are not built yet")
    events = [
        CountedEvent(START + timedelta(minutes=n), number(value), str(value), f"e{n:04d}")
        for n, value in enumerate(inputs["values_oldest_first"])
    ]
    value = get(NAMES[inputs["aggregation"]]).fold(events)
    return {"value": number(0) if value is None else value, "events": len(events)}


def metering(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "events" not in inputs or inputs.get("pre_aggregated") or inputs.get("aggregation") not in NAMES:
        raise Skip("acceptance in time and pre-aggregation")
    seen: set[tuple[str, str]] = set()
    events = []
    for event in inputs["events"]:
        key = (str(event.get("source", "")), str(event["id"]))
        if key in seen:
            continue  # the merge keeps the first of a key; tests/metering proves it on the database
        seen.add(key)
        events.append(
            CountedEvent(parse_instant(event["at"]), number(event["value"]), str(event["value"]), str(event["id"]))
        )
    return {"value": get(NAMES[inputs["aggregation"]]).fold(events)}


def weighted(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    period = Period(parse_instant(inputs["period_start"]), parse_instant(inputs["period_end_exclusive"]))
    # The level that a period starts with is made of events before it.
    before = {"at": format_instant(period.start - timedelta(days=1)), "delta": inputs["initial_level"]}
    events = [
        CountedEvent(parse_instant(event["at"]), number(event["delta"]), str(event["delta"]), f"e{n:04d}")
        for n, event in enumerate([before, *inputs["events"]])
    ]
    value = get("WEIGHTED_SUM").fold(events, period)
    assert value is not None
    amount = rate_part(StandardPrice(number(inputs.get("unit_price", 0))), value)
    return {
        "value": round_to(value, int(inputs["round_decimals"])),
        "amount_cents": cents(amount),
        "level_at_end": get("SUM").fold(events),
    }
