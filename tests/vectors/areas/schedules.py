"""On which days is billed, and which part of a period a stub is: by the product's calendar."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from apps.invoicing.domain.charges import ChargeTerms, charges_due
from apps.kernel.money import round_to
from apps.kernel.time import (
    Cadence,
    Period,
    add,
    boundary,
    format_instant,
    index_at,
    local_days,
    parse_instant,
    prorate,
    ratio,
)
from apps.rating.lines import rate_fee
from apps.rating.price_models.standard import StandardPrice
from apps.subscriptions.domain.grid import Grid, Slot, own_anchor
from tests.vectors.areas.boundaries import Calendar, midnight
from tests.vectors.areas.common import Skip, cents, number

PERIODS = {"monthly": "P1M", "quarterly": "P3M", "biannual": "P6M", "annual": "P1Y"}
MONTH = Cadence.parse("P1M")
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


QUESTIONS = {
    "in_arrears_interval": "what is billed before its period is over has bills of its own, not a longer interval",
    "local_date_with_frozen_offset": "a local day goes by the zone's rules at its instant, not by an offset kept",
}
FIXED = "a month has its own days here, not a fixed number of them"
MODES = {
    "fixed_day_count": FIXED,
    "raw_leading_fraction": FIXED,
    "raw_trailing_fraction": FIXED,
}


def billing_schedule(case: dict[str, Any]) -> dict[str, Any]:
    """Days that a period begins on."""
    inputs = case["inputs"]
    tz = inputs["timezone"]
    intervals = [inputs["interval"], *(["monthly"] if inputs.get("usage_charges_billed_monthly") else [])]
    calendars = [Calendar(inputs, interval, tz) for interval in intervals]

    def is_billed(instant: datetime) -> bool:
        start = midnight(instant, tz)
        return any(calendar.at(start).start == start for calendar in calendars)

    if "instants" in inputs:
        return {"due": [is_billed(parse_instant(text)) for text in inputs["instants"]]}
    zone = ZoneInfo(tz)
    days = (datetime.fromisoformat(text).replace(tzinfo=zone) for text in inputs["dates"])
    return {"is_billing_day": [is_billed(day) for day in days]}


def subscription_proration(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if inputs["trial_days"]:
        return _after_trial(inputs)
    tz = inputs["timezone"]
    calendar = Calendar({**inputs, "subscription_at": inputs["subscription_anchor_date"]}, inputs["interval"], tz)
    whole = calendar.at(parse_instant(inputs["date_inside_billed_period"]))
    end = whole.end
    if inputs["terminated_on"]:
        last = parse_instant(inputs["terminated_on"])
        end = last if inputs["terminated_by_upgrade"] else last + DAY
    part = Period(max(whole.start, parse_instant(inputs["started_on"])), end)
    fee = prorate(number(inputs["plan_amount_cents"]) / 100, part=part, whole=whole, basis="day", tz=tz)
    return {
        "fee_cents": cents(fee),
        "billed_days": local_days(part, tz),
        "period_days": local_days(whole, tz),
        "period": [_day(whole.start), _day(whole.end - DAY)],
    }


def _after_trial(inputs: dict[str, Any]) -> dict[str, Any]:
    """The fee of the part of a period that follows a trial: the charge that the product bills of it."""
    tz = inputs["timezone"]
    calendar = Calendar({**inputs, "subscription_at": inputs["subscription_anchor_date"]}, inputs["interval"], tz)
    whole = calendar.at(parse_instant(inputs["date_inside_billed_period"]))
    started = parse_instant(inputs.get("started_at_instant") or inputs["started_on"])
    counted_from = parse_instant(inputs["trial_counted_from"]) if "trial_counted_from" in inputs else started
    ends = None
    if inputs["terminated_on"]:
        ends = parse_instant(inputs["terminated_on"]) + (0 if inputs["terminated_by_upgrade"] else 1) * DAY
    grid = Grid(
        anchor=calendar.anchor,
        starts_at=started,
        ends_at=ends,
        tz=tz,
        is_own=False,
        trial_ends_at=add(counted_from, Cadence(days=inputs["trial_days"]), tz),
    )
    terms = ChargeTerms(
        revision_id=1,
        price_id="fee",
        is_in_advance=inputs["pay_in_advance"],
        cadence=calendar.cadence,
        is_obligation=False,
    )
    due = charges_due([terms], grid, after=whole.start - DAY, until=whole.end, plan_cadence=calendar.cadence)
    parts = [charge.service for charge in due if charge.whole == whole]
    amount = number(inputs["plan_amount_cents"]) / 100
    fees = [prorate(amount, part=part, whole=whole, basis="day", tz=tz) for part in parts]
    return {
        "fee_cents": cents(sum(fees, number(0))),
        "billed_days": sum(local_days(part, tz) for part in parts),
        "period_days": local_days(whole, tz),
        "period": [_day(whole.start.astimezone(ZoneInfo(tz))), _day(whole.end.astimezone(ZoneInfo(tz)) - DAY)],
    }


def billing_day(case: dict[str, Any]) -> dict[str, Any]:
    """Dates of a day of the month that short months clamp."""
    inputs = case["inputs"]
    match inputs["question"]:
        case "first_billing_date":
            return {"date": _day(_first(inputs))}
        case "billed_through":
            return {"date": _day(_slots(inputs)[-1].service.end)}
        case "in_arrears_interval" if inputs["mode"] == "in_arrears":
            first, cadence = _first(inputs), Cadence.parse(PERIODS[inputs["period"]])
            anchor, target = _anchor(inputs), parse_instant(inputs["target"])
            through = boundary(anchor, cadence, index_at(anchor, cadence, target))
            is_billed = through >= first
            after = boundary(anchor, cadence, index_at(anchor, cadence, target) + 1)
            return {
                "first_billing_date": _day(first),
                "billed_through": _day(through) if is_billed else None,
                "next_billing_date": _day(after if is_billed else first),
            }
        case "align_in_month":
            proposed = parse_instant(inputs["proposed"])
            anchor = datetime(proposed.year, 1, inputs["billing_day"], tzinfo=UTC)
            return {"date": _day(boundary(anchor, MONTH, proposed.month - 1))}
        case "align_to_next":
            return {"date": _day(_first({**inputs, "start": inputs["proposed"], "period": "monthly"}))}
        case "instant_from_local_date":
            return {"instant": format_instant(_at_the_hour_of(inputs))}
        case "billing_day_from_instant":
            return {"billing_day": _day_of_own_calendar(parse_instant(inputs["instant"]), inputs["zone"])}
        case other:
            raise Skip(QUESTIONS.get(other, f"question {other}"))


def _at_the_hour_of(inputs: dict[str, Any]) -> datetime:
    """Give the recurrence of an instant on a local date: so many local days later, at its own hour."""
    offset = inputs["offset_hours"]
    tz = f"Etc/GMT{-offset:+d}"  # these names count to the west
    anchor = parse_instant(inputs["reference_instant"])
    days = datetime.fromisoformat(inputs["local_date"]).date() - anchor.astimezone(ZoneInfo(tz)).date()
    return boundary(anchor, Cadence(days=1), days.days, tz)


def _day_of_own_calendar(started: datetime, tz: str) -> int:
    """Give the local day on which the months of a calendar of its own begin; looked at in a month of 31 days."""
    grid = Grid(anchor=own_anchor(started, None), starts_at=started, ends_at=None, tz=tz, is_own=True)
    slot = grid.slot_at(MONTH, boundary(started, MONTH, 12, tz))
    assert slot is not None
    return slot.service.start.astimezone(ZoneInfo(tz)).day


def day_counting(case: dict[str, Any]) -> dict[str, Any]:
    """The source names the last second of a period."""
    inputs, tz = case["inputs"], case["inputs"]["timezone"]
    last = parse_instant(inputs["to_instant"])
    if last == midnight(last, tz):
        raise Skip("an end at midnight begins a day of which nothing is counted here")
    return {"days": local_days(Period(parse_instant(inputs["from_instant"]), last + SECOND), tz)}


def fixed_charge(case: dict[str, Any]) -> dict[str, Any]:
    """A fee for a quantity, of so many days of a period."""
    inputs = case["inputs"]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    part, whole = (Period(start, start + inputs[name] * DAY) for name in ("billed_days", "period_days"))
    line = rate_fee(
        price=StandardPrice(number(inputs["unit_price"])),
        quantity=number(inputs["units"]),
        currency="USD",
        period=part,
        sources={},
        calculated_at=part.end,
        share=ratio(part, whole, basis="day"),
        whole=whole,
        basis="day",
    )
    return {"fee_cents": cents(line.subtotal)}


def proration_days(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if inputs["mode"] == "raw_trailing_fraction" and "fixed_days" not in inputs:
        return {"fraction": _written(_begun(inputs))}
    if inputs["mode"] == "whole_periods":
        return {"whole_periods": sum(_share(slot) == 1 for slot in _own_slots(inputs))}
    if inputs["mode"] not in {"in_advance", "in_arrears"}:
        raise Skip(MODES.get(inputs["mode"], f"mode {inputs['mode']}"))
    if "error" in case["expected"]:
        raise Skip("dates before the start are no question that a calendar can be asked here: a span of it is empty")
    slots = _slots(inputs)
    if _is_counted_back(slots[0] if slots else None, inputs["billing_day"]):
        raise Skip("a stub before a clamped day: its whole begins at the anchor's day, not a month before the end")
    items = [
        {"from": _day(s.service.start), "to": _day(s.service.end), "fraction": _written(_share(s))} for s in slots
    ]
    cycles = sum((number(item["fraction"]) for item in items), number(0))
    dates = [item["from"] for item in items[:1]] + [item["to"] for item in items]
    return {"cycles": str(cycles), "items": items, "boundaries": dates}


def proration_amount(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "old_price" in inputs:
        step = timedelta(**{inputs["unit"]: 1})
        start = datetime(2026, 1, 1, tzinfo=UTC)
        whole = Period(start, start + inputs["total"] * step)
        rest = Period(whole.end - inputs["remaining"] * step, whole.end)
        credit, debit = (
            round_to(prorate(number(inputs[name]), part=rest, whole=whole), 2) for name in ("old_price", "new_price")
        )
        return {"credit": -credit, "debit": debit, "net": debit - credit}
    days, full = inputs["service_days"], inputs["full_period_days"]
    if not 0 < days <= full:
        raise Skip("a part that is empty or larger than its whole is refused")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    part, whole = Period(start, start + days * DAY), Period(start, start + full * DAY)
    amount = prorate(number(inputs["amount"]), part=part, whole=whole, basis="day")
    return {"amount": round_to(amount, inputs["minor_digits"])}


def _own_slots(inputs: dict[str, Any]) -> list[Slot]:
    """Give the periods that count from a date, the last cut by another."""
    start, end = parse_instant(inputs["from"]), parse_instant(inputs["to"])
    cadence = Cadence.parse({**PERIODS, "weekly": "P1W"}[inputs["period"]])
    grid = Grid(anchor=start, starts_at=start, ends_at=end, tz="UTC", is_own=True)
    return grid.slots(cadence, touching=Period(start, end))


def _begun(inputs: dict[str, Any]) -> Fraction:
    slots = _own_slots(inputs)
    if len(slots) > 1:
        raise Skip("a share of more than one period: whole periods are told apart here")
    return _share(slots[0])


def _first(inputs: dict[str, Any]) -> datetime:
    """Give the first billing date, not before the start."""
    start = parse_instant(inputs["start"])
    if inputs["period"] not in PERIODS:
        return start  # counted in days, so from the start itself
    anchor, cadence = _anchor(inputs), Cadence.parse(PERIODS[inputs["period"]])
    n = index_at(anchor, cadence, start)
    here = boundary(anchor, cadence, n)
    return here if here == start else boundary(anchor, cadence, n + 1)


def _anchor(inputs: dict[str, Any]) -> datetime:
    """Give the billing day in the month of the start, or that many periods before where the month lacks the day."""
    start, day = parse_instant(inputs["start"]), inputs["billing_day"]
    days = datetime(2000, 1, day, tzinfo=UTC)
    month = (start.year - 2000) * 12 + start.month - 1
    step = Cadence.parse(PERIODS[inputs["period"]]).months
    earlier = (k for k in range(month, month - 48, -step) if boundary(days, MONTH, k).day == day)
    return boundary(days, MONTH, next(earlier, month))


def _slots(inputs: dict[str, Any]) -> list[Slot]:
    """Give the periods that are billed up to the target: begun ones in advance, ended ones in arrears."""
    if inputs["period"] not in PERIODS:
        raise Skip(f"period {inputs['period']}")
    end = parse_instant(inputs["end"]) if inputs.get("end") else None
    start, target = parse_instant(inputs["start"]), parse_instant(inputs["target"])
    cadence = Cadence.parse(PERIODS[inputs["period"]])
    grid = Grid(anchor=_anchor(inputs), starts_at=start, ends_at=end, tz="UTC", is_own=False)
    found = grid.slots(cadence, touching=Period(start, max(target, start) + DAY))
    if inputs["mode"] == "in_advance":
        return [slot for slot in found if slot.service.start <= target]
    return [slot for slot in found if slot.service.end <= target]


def _share(slot: Slot) -> Fraction:
    return ratio(slot.service, slot.whole, basis="day")


def _is_counted_back(first: Slot | None, billing_day: int) -> bool:
    return first is not None and first.is_cut_at_start and first.whole.end.day < billing_day


def _written(share: Fraction) -> str:
    if share == 1:
        return "1"
    return str(round_to(number(share.numerator) / number(share.denominator), 9))


def _day(instant: datetime) -> str:
    return instant.date().isoformat()
