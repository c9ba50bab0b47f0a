"""Which steps of the calendar a plan may bill by."""

import re
from datetime import timedelta

from apps.kernel.time import Cadence

# What a column may hold; the database checks the same.
OF_MONTHS, OF_DAYS = r"^P([0-9]+Y)?([0-9]+M)?$", r"^P([0-9]+W)?([0-9]+D)?$"
# Ten years, in either unit.
MOST_MONTHS, MOST_DAYS = 120, 3660
SHORTEST_INTERVAL, LONGEST_INTERVAL = timedelta(minutes=1), timedelta(days=31)
# The names that the wire once had for cadences, and still reads.
NAMED = {"monthly": "P1M", "quarterly": "P3M", "yearly": "P1Y", "annual": "P1Y"}
_NAMES = {Cadence.parse("P1M"): "monthly", Cadence.parse("P3M"): "quarterly", Cadence.parse("P1Y"): "yearly"}


def find_cadence_problem(text: str) -> str | None:
    """Say what keeps a duration from being a billing cadence; None when it is one.

    A cadence is n days or weeks, or n months or years: `P14D`, `P2W`, `P6M`, `P2Y`. Months and days in one step are
    refused, because nobody could say from memory where such a period ends.
    """
    try:
        cadence = Cadence.parse(text)
    except ValueError:
        return "Give an ISO 8601 duration, such as P1M or P14D."
    if cadence.is_once or cadence.seconds:
        return "A plan bills by whole days, weeks, months or years, such as P1M or P14D."
    if not (re.search(OF_MONTHS, text) or re.search(OF_DAYS, text)):
        return "Use days and weeks, or months and years, not both, such as P6M or P14D."
    if cadence.months > MOST_MONTHS or cadence.days > MOST_DAYS:
        return "A billing period is at most ten years."
    return None


def find_interval_problem(text: str) -> str | None:
    """Say what keeps a duration from being the least time between two bills of usage; None when it is one."""
    try:
        span = Cadence.parse(text)
    except ValueError:
        return "Give an ISO 8601 duration, such as PT1M, PT1H or P1D."
    is_sane = not span.months and max(span.days, span.seconds) <= LONGEST_INTERVAL.total_seconds()
    if not is_sane or not SHORTEST_INTERVAL <= length_of(span) <= LONGEST_INTERVAL:
        return "Give a fixed length, from a minute to 31 days, such as PT1M, PT1H or P1D."
    return None


def length_of(span: Cadence) -> timedelta:
    """Give how long a duration without months is, a day as 24 hours."""
    return timedelta(days=span.days, seconds=span.seconds)


def interval_name(text: str) -> str:
    """Give the wire's old name of a cadence; one that never had a name is its own."""
    return _NAMES.get(Cadence.parse(text), text)
