"""How long a trial may be."""

import re

from apps.catalog.domain.cadences import MOST_DAYS, MOST_MONTHS, OF_DAYS, OF_MONTHS
from apps.kernel.time import Cadence


def find_trial_problem(text: str) -> str | None:
    """Say what keeps a duration from being the length of a trial; None when it is one.

    A trial lasts n days or weeks, or n months or years: `P14D`, `P1M`. `P0D` and nothing are no trial.
    """
    if not text:
        return None
    try:
        length = Cadence.parse(text)
    except ValueError:
        return "Give an ISO 8601 duration, such as P14D or P1M; P0D for no trial."
    if length.seconds or not (re.search(OF_MONTHS, text) or re.search(OF_DAYS, text)):
        return "A trial lasts whole days and weeks, or months and years, such as P14D or P1M."
    if length.months > MOST_MONTHS or length.days > MOST_DAYS:
        return "A trial lasts at most ten years."
    return None
