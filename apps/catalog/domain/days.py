"""Days of the calendar that billing periods begin on."""

from apps.kernel.time import Cadence


def find_day_problem(cadence: Cadence, day: int | None, month: int | None) -> str | None:
    """Say what keeps periods of a cadence from beginning on a day of the calendar; None when nothing does.

    Args:
        day: 1 to 31 of the month for a cadence of months, 1 (Monday) to 7 for one of weeks; None for no such day.
        month: 1 to 12, one that a period of several months begins in; None leaves it to January.
    """
    if day is None:
        return None if month is None else "Give the day of the month that periods begin on as well."
    if not cadence.months and cadence.days % 7:
        return "Periods of days count from their start; bill by weeks, months or years to begin on a day."
    most = 31 if cadence.months else 7
    if not 1 <= day <= most:
        return "Give 1 to 31 of the month." if cadence.months else "Give 1 (Monday) to 7 (Sunday) for weeks."
    if month is not None and (cadence.months < 2 or not 1 <= month <= 12):
        return "A month, 1 to 12, can be chosen for periods of several months."
    return None
