"""Charts over a span of time: where things lie, the axis, and which span is looked at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT, PAD, FLOOR = 920, 210, 24, 30
TICKS = 5
DAY = timedelta(days=1)
ALL = "all"
SPANS = {"day": DAY, "week": timedelta(days=7), "month": timedelta(days=31)}


@dataclass(frozen=True, slots=True)
class Frame:
    """Where moments and values lie in a chart.

    Attributes:
        low: the least value that is shown, at the floor.
        high: the greatest; above `low`.
    """

    start: datetime
    end: datetime
    low: Decimal
    high: Decimal

    def x(self, at: datetime) -> int:
        share = (at - self.start) / max(self.end - self.start, timedelta(seconds=1))
        return round(PAD + (WIDTH - 2 * PAD) * share)

    def y(self, value: Decimal) -> int:
        return round(PAD + (HEIGHT - PAD - FLOOR) * (self.high - value) / (self.high - self.low))

    def corners(self, points: Iterable[tuple[datetime, Decimal]]) -> str:
        return " ".join(f"{self.x(at)},{self.y(value)}" for at, value in points)

    def label(self, at: datetime, value: Decimal, text: str) -> SafeString:
        """Write above a point, inside of the chart wherever the point lies."""
        x = self.x(at)
        anchor = "start" if x < WIDTH / 4 else "end" if x > WIDTH * 3 / 4 else "middle"
        return _text(x, self.y(value) - 6, anchor, text)

    def drawn(self, *parts: SafeString, name: str) -> SafeString:
        """Give the chart: its line of zero, its axis, and what is drawn in it."""
        zero = self.y(Decimal(0))
        return format_html(
            '<svg viewBox="0 0 {} {}" class="mg-balance" role="img" aria-label="{}">'
            '<line class="zero" x1="{}" x2="{}" y1="{}" y2="{}"/>{}{}</svg>',
            WIDTH, HEIGHT, name, PAD, WIDTH - PAD, zero, zero, self._axis(), format_html_join("", "{}", zip(parts)),
        )  # fmt: skip

    def _axis(self) -> SafeString:
        """Mark readable moments below: whole days of longer spans, whole hours of shorter ones."""
        length = self.end - self.start
        is_long = length > 3 * DAY
        pattern = "%-d %b %Y" if is_long else "%-d %b %H:%M"
        marks = []
        for n in range(TICKS):
            at = self.start + length * n / (TICKS - 1)
            whole = at.replace(hour=0 if is_long else at.hour, minute=0, second=0, microsecond=0)
            at = whole if whole >= self.start and length > timedelta(hours=TICKS) else at
            anchor = "start" if n == 0 else "end" if n == TICKS - 1 else "middle"
            marks.append((self.x(at), _text(self.x(at), HEIGHT - 6, anchor, at.strftime(pattern))))
        ticks = ((x, HEIGHT - FLOOR, HEIGHT - FLOOR + 6, text) for x, text in marks)
        return format_html_join("", '<line x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>{3}', ticks)


def _text(x: int, y: int, anchor: str, text: str) -> SafeString:
    return format_html('<text x="{}" y="{}" text-anchor="{}">{}</text>', x, y, anchor, text)


def upright(frame: Frame, at: datetime, kind: str, words: str) -> SafeString:
    """Mark a moment by a line from top to bottom that says what it is."""
    return format_html(
        '<line class="{0}" x1="{1}" x2="{1}" y1="{2}" y2="{3}"><title>{4}</title></line>',
        kind, frame.x(at), PAD, HEIGHT - FLOOR, words,
    )  # fmt: skip


def dot(frame: Frame, at: datetime, kind: str, words: str) -> SafeString:
    """Mark a moment by a dot on the floor that says what it is."""
    return format_html(
        '<circle class="{}" cx="{}" cy="{}" r="4"><title>{}</title></circle>',
        kind, frame.x(at), HEIGHT - FLOOR, words,
    )  # fmt: skip


def span_links(chosen: str, offered: Sequence[str]) -> SafeString:
    """Let one choose the span that a page's charts show."""
    links = (
        (format_html(' aria-current="{}"', "true") if name == chosen else "", name, name.capitalize())
        for name in offered
    )
    return format_html(
        '<p class="mg-spans">Show {}</p>',
        format_html_join(" ", '<a class="mg-link" href="?span={1}"{0}>{2}</a>', links),
    )


def within(
    points: Sequence[tuple[datetime, Decimal]], start: datetime, end: datetime
) -> list[tuple[datetime, Decimal]]:
    """Cut a line to a span; where it enters is interpolated, as the line itself is."""
    found = [(at, value) for at, value in points if start <= at <= end]
    before = [point for point in points if point[0] < start]
    after = [point for point in points if point[0] >= start]
    if before and after and after[0][0] > start:
        (at, value), (then, next_value) = before[-1], after[0]
        share = Decimal((start - at) / (then - at)).quantize(Decimal("0.000001"))
        found.insert(0, (start, value + (next_value - value) * share))
    elif before and not after:
        found.insert(0, (start, before[-1][1]))
    return found
