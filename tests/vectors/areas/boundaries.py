from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from apps.invoicing.domain.charges import Charge, ChargeTerms, charges_due
from apps.kernel.time import Cadence, Period, boundary, format_instant, index_at, local_days, parse_instant
from apps.subscriptions.domain.grid import Grid
from tests.vectors.areas.common import Skip

CADENCES = {
    "weekly": "P1W", "monthly": "P1M", "quarterly": "P3M", "semiannual": "P6M", "half_yearly": "P6M", "yearly": "P1Y",
}  # fmt: skip
SECOND = timedelta(seconds=1)


def boundaries(case: dict[str, Any]) -> dict[str, Any]:
    inputs, expected = case["inputs"], case["expected"]
    if "timezone_before" in inputs:
        raise Skip("a zone is kept with its subscription, so that none changes in a period")
    tz = inputs.get("timezone") or "UTC"
    run = parse_instant(inputs["billing_run_at"])
    started = parse_instant(inputs["started_at"])
    ended = parse_instant(inputs["terminated_at"]) if inputs.get("terminated_at") else None
    in_advance, current = inputs["pay_in_advance"], inputs.get("current_usage_query", False)
    calendar = Calendar(inputs, inputs["interval"], tz)
    if any(name.startswith("fixed_") for name in expected):
        return _fixed(inputs, calendar, started, run)
    if ended is not None and in_advance and {"fee_from", "fee_to"} & set(expected):
        return _last_in_advance(calendar, started, ended, run)
    usage_interval = "monthly" if inputs.get("usage_charges_billed_monthly") else inputs["interval"]
    usage_calendar = Calendar(inputs, usage_interval, tz)
    now, before = calendar.at(run), calendar.before(run)
    stopped = ended is not None and ended <= run
    fee = now if in_advance or stopped or current else before
    usage = usage_calendar.at(run) if stopped or current else usage_calendar.before(run)
    answers: dict[str, Any] = {
        "fee_from": max(fee.start, midnight(started, tz)),
        "fee_to": _last(fee, ended, run),
        "usage_from": max(usage.start, started),
        "usage_to": _last(usage, ended, run),
        "current_period_end": now.end - SECOND,
        "current_period_start": now.start,
        "previous_period_start": now.start if current else before.start,
        "fee_period_days": _days(fee, tz),
        "usage_period_days": _days(usage, tz),
        "days_of_period_containing_start": _days(calendar.at(started), tz),
    }
    if inputs.get("local_dates_expected"):
        zone = ZoneInfo(tz)
        return {
            k: v.astimezone(zone).date().isoformat() if isinstance(v, datetime) else v for k, v in answers.items()
        }
    return {k: format_instant(v) if isinstance(v, datetime) else v for k, v in answers.items()}


def _fixed(inputs: dict[str, Any], calendar: "Calendar", started: datetime, run: datetime) -> dict[str, Any]:
    """The last period of a fixed charge in arrears with an interval of its own."""
    cadence = Cadence.parse("P1M") if inputs["fixed_charges_billed_monthly"] else calendar.cadence
    period = _due(calendar, cadence, started, None, run, in_advance=False)[-1].service
    return {
        "fixed_from": format_instant(period.start),
        "fixed_to": format_instant(period.end - SECOND),
        "fixed_period_days": local_days(period, calendar.tz),
    }


def _last_in_advance(calendar: "Calendar", started: datetime, ended: datetime, run: datetime) -> dict[str, Any]:
    """The last period whose fee fell due before an end: the one that an end within it cuts."""
    if calendar.at(ended).start == ended:
        raise Skip("an end as a period begins: the source's day counts whole, here nothing of it is billed")
    period = _due(calendar, calendar.cadence, started, ended, run, in_advance=True)[-1].service
    return {"fee_from": format_instant(period.start), "fee_to": format_instant(period.end)}


def _due(
    calendar: "Calendar", cadence: Cadence, started: datetime, ended: datetime | None, run: datetime, *,
    in_advance: bool,
) -> list[Charge]:  # fmt: skip
    grid = Grid(anchor=calendar.anchor, starts_at=started, ends_at=ended, tz=calendar.tz, is_own=False)
    terms = ChargeTerms(revision_id=1, price_id="fee", is_in_advance=in_advance, cadence=cadence, is_obligation=False)
    return charges_due([terms], grid, after=started - SECOND, until=run, plan_cadence=calendar.cadence)


class Calendar:
    """The natural periods of a case, made by the product's anchored calendar."""

    def __init__(self, inputs: dict[str, Any], interval: str, tz: str) -> None:
        if interval not in CADENCES:
            raise Skip(f"interval {interval}")
        self.cadence, self.tz = Cadence.parse(CADENCES[interval]), tz
        zone = ZoneInfo(tz)
        if inputs["billing_time"] == "calendar":
            # 1 January 2001 was a Monday: months, quarters, halves, years and ISO weeks all begin there.
            self.anchor = datetime(2001, 1, 1, tzinfo=zone)
        else:
            self.anchor = midnight(parse_instant(inputs["subscription_at"]), tz)

    def at(self, instant: datetime) -> Period:
        return self._period(index_at(self.anchor, self.cadence, instant, self.tz))

    def before(self, instant: datetime) -> Period:
        return self._period(index_at(self.anchor, self.cadence, instant, self.tz) - 1)

    def _period(self, n: int) -> Period:
        return Period(
            boundary(self.anchor, self.cadence, n, self.tz), boundary(self.anchor, self.cadence, n + 1, self.tz)
        )


def midnight(instant: datetime, tz: str) -> datetime:
    zone = ZoneInfo(tz)
    return datetime.combine(instant.astimezone(zone).date(), datetime.min.time(), tzinfo=zone)


def _last(period: Period, ended: datetime | None, run: datetime) -> datetime:
    """Half-open ends become the last second, as the source writes them."""
    return ended if ended is not None and ended < period.end and ended <= run else period.end - SECOND


def _days(period: Period, tz: str) -> int:
    zone = ZoneInfo(tz)
    return (period.end.astimezone(zone).date() - period.start.astimezone(zone).date()).days
