from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from apps.kernel.money import EXACT, round_to
from apps.kernel.time import Period, format_instant, parse_instant
from apps.metering.aggregations import CountedEvent, get
from apps.rating.price_models.standard import StandardPrice
from apps.rating.quantities import round_quantity
from tests.vectors.areas.common import Skip, cents, number, priced

NAMES = {
    "sum": "SUM", "count": "COUNT", "avg": "AVG", "average": "AVG", "min": "MIN", "max": "MAX", "latest": "LATEST",
    "unique": "UNIQUE_COUNT", "unique_count": "UNIQUE_COUNT",
}  # fmt: skip
START = datetime(2024, 1, 1, tzinfo=UTC)


def basic(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "operations" in inputs and not inputs["recurring"] and {row["op"] for row in inputs["operations"]} == {"add"}:
        # Events of other periods (`earlier_units`) are not read.
        values = [str(row["unit"]) for row in inputs["operations"]]
        inputs = {**inputs, "values_oldest_first": values, "operations": []}
    if "values_oldest_first" not in inputs or inputs.get("recurring") or inputs["aggregation"] not in NAMES:
        raise Skip("a unique count has no operations that remove a value; levels are time-weighted sums")
    events = [
        CountedEvent(START + timedelta(minutes=n), _counted(value), str(value), f"e{n:04d}")
        for n, value in enumerate(inputs["values_oldest_first"])
    ]
    value = get(NAMES[inputs["aggregation"]]).fold(events)
    return {"value": number(0) if value is None else value, "events": len(events)}


def _counted(value: Any) -> Decimal:
    """Give the number of an event's value; a name that is only told apart counts as one."""
    try:
        return number(value)
    except InvalidOperation:
        return number(1)


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
    amount = priced(StandardPrice(number(inputs.get("unit_price", 0))), value)
    return {
        "value": round_to(value, int(inputs["round_decimals"])),
        "amount_cents": cents(amount),
        "level_at_end": get("SUM").fold(events),
    }


def prorated_sum(case: dict[str, Any]) -> dict[str, Any]:
    """A level that is carried from period to period and changes at midnights: what we call a time-weighted sum."""
    inputs = case["inputs"]
    if "level_before" in inputs:
        raise Skip("a level billed as it rises, up to the period's highest: levels are billed in arrears here")
    period = Period(midnight(inputs["period_from"]), midnight(inputs["period_to"]) + timedelta(days=1))
    billed = Period(midnight(inputs.get("billed_from", inputs["period_from"])), period.end)
    changes = [{"on": inputs["event_on"], "value": inputs["value"]}] if "event_on" in inputs else inputs["events"]
    events = [
        CountedEvent(at, number(value), str(value), f"e{n:04d}")
        for n, (at, value) in enumerate(
            [
                (period.start - timedelta(days=1), inputs.get("carried", 0)),
                *((midnight(c["on"]), c["value"]) for c in changes),
            ]
        )
    ]
    mean = get("WEIGHTED_SUM").fold(events, billed)
    assert mean is not None
    value = EXACT.divide(EXACT.multiply(mean, billed.microseconds), period.microseconds)
    return {
        "value": round_quantity(value, function="ceil", precision=int(inputs["round_up_decimals"])),
        "full_units": round_quantity(
            get("SUM").fold(events) or number(0), function="ceil", precision=int(inputs["round_up_decimals"])
        ),
    }


def recurring_charge(case: dict[str, Any]) -> dict[str, Any]:
    """A level that is carried from period to period, rounded as the metric says, at a price for each unit."""
    inputs = case["inputs"]
    first, last = inputs["period"].split("..")
    asked = {
        **inputs, "period_from": first, "period_to": last,
        "round_up_decimals": inputs["prorated_units_rounded_up_decimals"],
    }  # fmt: skip
    units = prorated_sum({"inputs": asked})["value"]
    return {"fee_cents": cents(priced(StandardPrice(number(inputs["unit_price"])), units))}


def midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), UTC)
