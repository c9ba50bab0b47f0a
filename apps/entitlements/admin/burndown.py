"""What became of a right's units: balance over time as a chart, and each segment in words."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.entitlements.admin.charts import ALL, SPANS, Frame, dot, span_links, upright, within
from apps.entitlements.admin.happenings import Names, Teller, burned, few, instants_of, named_at
from apps.entitlements.domain.engine import Segment, total
from apps.entitlements.selectors.histories import History
from apps.kernel.adminsite.display import figure, moment, quantity

SHOWN_SEGMENTS = 60
LEGEND = "Dashed: a reset. Dots below: green, a grant begins; red, one expires or is voided."


def balance_chart(history: History, span: str = "") -> SafeString:
    """Draw the balance over a span of a history; overage lies below the line of zero.

    Args:
        span: the name of the span up to the moment that is shown; all of the history by default.
    """
    span = span if span in SPANS else ALL
    points = _points(history.run.segments)
    if not points:
        return format_html("{}", "Nothing has happened yet.")
    end = points[-1][0]
    start = points[0][0] if span == ALL else max(points[0][0], end - SPANS[span])
    shown = within(points, start, end)
    values = [value for _, value in shown]
    frame = Frame(start, end, low=min(*values, Decimal(0)), high=max(*values, Decimal(1)))
    line = format_html('<polyline points="{}"/>', frame.corners(shown))
    chart = frame.drawn(*_marks(history, frame), line, *_labels(frame, shown), name="Balance over time")
    return format_html('{}{}<p class="mg-quiet">{}</p>', span_links(span, [*SPANS, ALL]), chart, LEGEND)


def _points(segments: Sequence[Segment]) -> list[tuple[datetime, Decimal]]:
    """Give the corners of the line: what is there as each segment begins and ends."""
    found = []
    for segment in segments:
        found.append((segment.start, segment.balance - segment.overage_before))
        found.append((segment.end, total(segment.left.values()) - segment.overage))
    return found


def _labels(frame: Frame, points: Sequence[tuple[datetime, Decimal]]) -> Iterator[SafeString]:
    """Name the highest value, the lowest, and the last one, each once."""
    by_value = sorted(points, key=lambda point: point[1])
    last = points[-1]
    for at, value in {by_value[-1][1]: by_value[-1], by_value[0][1]: by_value[0], last[1]: last}.values():
        yield frame.label(at, value, figure(value))


def _marks(history: History, frame: Frame) -> Iterator[SafeString]:
    for segment in history.run.segments:
        if segment.is_reset and frame.start <= segment.start <= frame.end:
            yield upright(frame, segment.start, "reset", f"Reset {moment(segment.start)}")
    given = [grant for grant in history.grants if not grant.is_allowance]
    yield from _dots(frame, "begun", (grant.effective_at for grant in given))
    yield from _dots(frame, "ended", (grant.ends_at for grant in given if grant.ends_at is not None))


def _dots(frame: Frame, kind: str, moments: Iterable[datetime]) -> Iterator[SafeString]:
    """Mark when grants begin or end, however many of them do at once."""
    for at, count in Counter(at for at in moments if frame.start <= at <= frame.end).items():
        yield dot(frame, at, kind, f"{count:,} {'grant' if count == 1 else 'grants'} {kind} {moment(at)}")


def segment_table(history: History) -> SafeString:
    """Explain each segment: what happened as it began, what was used, and which units paid."""
    segments = history.run.segments
    skipped = max(len(segments) - SHOWN_SEGMENTS, 0)
    shown, instants = segments[skipped:], instants_of(history)[skipped:]
    ids = {grant_id for instant in instants for grant_id in named_at(history, instant)}
    name = Names(history, ids | {burn.grant_id for segment in shown for burn in segment.burns})
    tell = Teller(history, name)
    rows = format_html_join(
        "",
        '<tr><td class="span">{}<br>– {}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>',
        (
            (
                moment(segment.start),
                moment(segment.end),
                tell.told(instant) or "No units came or went",
                quantity(segment.balance),
                quantity(segment.usage),
                few("", burned(segment.burns, name)) or "—",
                quantity(segment.overage),
            )
            for segment, instant in zip(shown, instants, strict=False)
        ),
    )
    rows += _row_now(history, tell.told(instants[-1]))
    return format_html(
        '{}<table class="mg-table mg-burndown"><tr><th>Time</th><th>What happened</th><th class="num">There</th>'
        '<th class="num">Used</th><th>Paid by</th><th class="num">Overage</th></tr>{}</table>',
        f"The latest {SHOWN_SEGMENTS} of {len(segments):,} steps." if skipped else "",
        rows,
    )


def _row_now(history: History, told: SafeString) -> SafeString:
    """Show what happens at the very moment that is shown: nothing can have been used since."""
    if not told:
        return told
    state = history.state
    return format_html(
        '<tr><td class="span">{}</td><td>{}</td><td>{}</td><td>—</td><td>—</td><td>{}</td></tr>',
        moment(state.at),
        told,
        quantity(state.balance),
        quantity(state.overage),
    )
