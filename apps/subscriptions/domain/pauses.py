"""Time in which a subscription costs no fees."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from apps.kernel.time import Period, PeriodError, local_days, ratio


@dataclass(frozen=True, slots=True)
class Pauses:
    """When a subscription was paused: half-open spans that do not overlap; the last may have no end yet."""

    spans: tuple[tuple[datetime, datetime | None], ...] = ()

    def hold(self, instant: datetime) -> bool:
        """Whether the subscription is paused at an instant."""
        return any(start <= instant and (end is None or instant < end) for start, end in self.spans)

    def within(self, period: Period) -> list[Period]:
        """Give the paused parts of a period, in order; a pause without an end lasts as long as it."""
        parts: list[Period] = []
        if not self.spans:
            return parts
        for start, end in sorted(self.spans, key=lambda span: span[0]):
            first, last = max(start, period.start), period.end if end is None else min(end, period.end)
            if first < last:
                parts.append(Period(first, last))
        return parts

    def active_share(self, service: Period, whole: Period, *, basis: str, tz: str) -> Fraction:
        """Give which part of a full period is served and not paused, exactly; never below 0 or above `service`.

        Args:
            service: the served part of the period; lies inside the whole.
            whole: the full period.
            basis: "second" by elapsed time; "day" by local days, where a pause takes the midnights it spans; "none"
                all of it, unless the service begins while it is paused.
            tz: time zone of the days.

        Raises:
            PeriodError: the service sticks out.
        """
        full = ratio(service, whole, basis=basis, tz=tz)
        paused = self.within(service)
        if not paused:
            return full
        seconds = sum(part.microseconds for part in paused)
        if seconds == service.microseconds:
            return Fraction(0)
        if basis == "none":
            return Fraction(0) if self.hold(service.start) else full
        if basis == "second":
            return full - Fraction(seconds, whole.microseconds)
        nights = sum(_nights(part, tz) for part in paused)
        return max(full - Fraction(nights, local_days(whole, tz)), Fraction(0))

    def part_share(self, part: Period, service: Period, whole: Period, *, basis: str, tz: str) -> Fraction:
        """Give which part of a full period a part of its service is; the shares of all parts add up to the service's.

        By the day, a day belongs to what holds at its end.

        Raises:
            PeriodError: the part sticks out of the service, or the service of the whole.
        """
        if part.start < service.start or part.end > service.end:
            raise PeriodError("the part does not lie inside the service")

        def up_to(instant: datetime) -> Fraction:
            if instant == service.start:
                return Fraction(0)
            served = Period(service.start, instant)
            if basis != "day" or instant == service.end:
                return self.active_share(served, whole, basis=basis, tz=tz)
            nights = _nights(served, tz) - sum(_nights(paused, tz) for paused in self.within(served))
            return Fraction(max(nights, 0), local_days(whole, tz))

        return max(up_to(part.end) - up_to(part.start), Fraction(0))


def _nights(period: Period, tz: str) -> int:
    """Count the local midnights of a span, so that those of neighbouring spans add up to those of their union."""
    zone = ZoneInfo(tz)
    return int((period.end.astimezone(zone).date() - period.start.astimezone(zone).date()) / timedelta(days=1))
