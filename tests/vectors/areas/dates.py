from datetime import datetime, timedelta
from typing import Any

from apps.kernel.time import Cadence, add, boundary, format_instant, index_at, parse_instant, period_at
from tests.vectors.areas.common import Skip

NAMED = {
    "daily": "P1D", "weekly": "P1W", "biweekly": "P2W", "thirty_days": "P30D", "thirty_one_days": "P31D",
    "sixty_days": "P60D", "ninety_days": "P90D", "monthly": "P1M", "bimesterly": "P2M", "quarterly": "P3M",
    "triannual": "P4M", "biannual": "P6M", "annual": "P1Y", "yearly": "P1Y", "biennial": "P2Y",
}  # fmt: skip


def date_rules(case: dict[str, Any]) -> dict[str, Any]:
    inputs, expected = case["inputs"], case["expected"]
    match inputs["rule"]:
        case "advance" | "recede":
            return {"dates": _steps(inputs)}
        case "anchored_recurrence":
            return _recurrence(inputs, expected)
        case "iterated_from_previous":
            count = len(expected["right_dates"])
            right = _days(parse_instant(inputs["anchor"]), _interval(inputs), range(1, count + 1))
            wrong, day = [], parse_instant(inputs["anchor"])
            for _ in range(count):
                day = add(day, _interval(inputs))
                wrong.append(day.date().isoformat())
            return {"right_dates": right, "wrong_dates": wrong}
        case "period_containing":
            found = period_at(
                parse_instant(inputs["anchor"]), Cadence.parse(inputs["interval"]), parse_instant(inputs["at"])
            )
            return {"period": [format_instant(found.start), format_instant(found.end)]}
        case "next" | "previous":
            return {"at": format_instant(_neighbour(inputs))}
        case "add_duration":
            return {"at": format_instant(_add(inputs["at"], inputs["duration"]))}
        case other:
            raise Skip(f"rule {other}")


def _steps(inputs: dict[str, Any]) -> list[str]:
    if inputs["period"] not in NAMED:
        raise Skip(f"period {inputs['period']}")
    sign = -1 if inputs["rule"] == "recede" else 1
    given = inputs["n"] if isinstance(inputs["n"], list) else [inputs["n"]]
    return _days(parse_instant(inputs["anchor"]), Cadence.parse(NAMED[inputs["period"]]), [sign * n for n in given])


def _recurrence(inputs: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    anchor, cadence = parse_instant(inputs["anchor"]), _interval(inputs)
    answer: dict[str, Any] = {"dates": _days(anchor, cadence, range(1, len(expected["dates"]) + 1))}
    if "weekday" in expected:
        answer["weekday"] = boundary(anchor, cadence, 1).strftime("%A")
    return answer


def _interval(inputs: dict[str, Any]) -> Cadence:
    return Cadence(months=inputs.get("interval_months", 0), days=inputs.get("interval_days", 0))


def _days(anchor: datetime, cadence: Cadence, steps: Any) -> list[str]:
    return [boundary(anchor, cadence, n).date().isoformat() for n in steps]


def _neighbour(inputs: dict[str, Any]) -> datetime:
    anchor, cadence = parse_instant(inputs["anchor"]), Cadence.parse(inputs["interval"])
    at = parse_instant(inputs["at"])
    n = index_at(anchor, cadence, at)
    here = boundary(anchor, cadence, n)
    if here == at and inputs["boundary"] == "inclusive":
        return here
    if inputs["rule"] == "next":
        return boundary(anchor, cadence, n + 1)
    return here if here < at else boundary(anchor, cadence, n - 1)


def _add(at: str, duration: dict[str, int]) -> datetime:
    cadence = Cadence(months=duration.get("years", 0) * 12 + duration.get("months", 0), days=duration.get("days", 0))
    moved = add(parse_instant(at), cadence) if cadence.months or cadence.days else parse_instant(at)
    return moved + timedelta(
        hours=duration.get("hours", 0), minutes=duration.get("minutes", 0), seconds=duration.get("seconds", 0)
    )
