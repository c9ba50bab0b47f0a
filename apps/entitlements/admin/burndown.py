"""What became of a right's units: balance over time as a chart, and each segment in words."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.entitlements.domain.engine import Burn, Segment, total
from apps.entitlements.models import UsageReset
from apps.entitlements.selectors.histories import ALLOWANCE, History
from apps.kernel.adminsite.display import figure, moment, quantity

WIDTH, HEIGHT, PAD = 920, 180, 24
SHOWN_SEGMENTS = 60


def balance_chart(history: History) -> SafeString:
    """Draw the balance over the segments of a history; overage lies below the line of zero."""
    segments = history.run.segments
    if not segments:
        return format_html("{}", "Nothing has happened yet.")
    points = _points(segments)
    start, end = points[0][0], points[-1][0]
    seconds = max((end - start).total_seconds(), 1)
    high = max([value for _, value in points] + [Decimal(1)])
    low = min([value for _, value in points] + [Decimal(0)])

    def x(at: datetime) -> int:
        return round(PAD + (WIDTH - 2 * PAD) * (at - start).total_seconds() / seconds)

    def y(value: Decimal) -> int:
        return round(PAD + (HEIGHT - 2 * PAD) * (high - value) / (high - low))

    line = " ".join(f"{x(at)},{y(value)}" for at, value in points)
    last = WIDTH - 130
    labels = (
        (PAD, y(high) - 6, figure(high)),
        (PAD, HEIGHT - 4, moment(start)),
        (last, HEIGHT - 4, moment(end)),
    )
    return format_html(
        '<svg viewBox="0 0 {} {}" class="w-full" role="img" aria-label="Balance over time">'
        '<line x1="{}" x2="{}" y1="{}" y2="{}" stroke="currentColor" opacity="0.3"/>'
        '<polyline points="{}" fill="none" stroke="currentColor" stroke-width="2"/>{}</svg>',
        WIDTH,
        HEIGHT,
        PAD,
        WIDTH - PAD,
        y(Decimal(0)),
        y(Decimal(0)),
        line,
        format_html_join("", '<text x="{}" y="{}" font-size="11" fill="currentColor">{}</text>', labels),
    )


def _points(segments: Sequence[Segment]) -> list[tuple[datetime, Decimal]]:
    """Give the corners of the line: what is there as each segment begins and ends."""
    found = []
    for segment in segments:
        found.append((segment.start, segment.balance - segment.overage_before))
        found.append((segment.end, total(segment.left.values()) - segment.overage))
    return found


def segment_table(history: History) -> SafeString:
    """Explain each segment: what it began with, what was used, and which units paid."""
    shown = history.run.segments[-SHOWN_SEGMENTS:]
    by_hand = {reset.effective_at: reset for reset in history.by_hand}
    rows = format_html_join(
        "",
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        (
            (
                f"{moment(segment.start)} – {moment(segment.end)}",
                _opening(segment, by_hand.get(segment.start)),
                quantity(segment.balance),
                quantity(segment.usage),
                _burns(segment.burns),
                quantity(segment.overage),
            )
            for segment in shown
        ),
    )
    rows += _reset_now(history)
    return format_html(
        '<table class="mg-table"><tr><th>Time</th><th>Begins with</th><th class="num">There</th>'
        '<th class="num">Used</th><th>Paid by</th><th class="num">Overage</th></tr>{}</table>',
        rows,
    )


def _reset_now(history: History) -> SafeString:
    """Show a reset by hand at the very moment that is shown: nothing can have been used since."""
    state = history.state
    made = next((reset for reset in history.by_hand if reset.effective_at == state.at), None)
    if made is None:
        return format_html("{}", "")
    return format_html(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>—</td><td>—</td><td>{}</td></tr>",
        moment(state.at),
        _by_hand(made),
        quantity(state.balance),
        quantity(state.overage),
    )


def _by_hand(made: UsageReset) -> str:
    words = [f"a reset by hand ({made.reason})" if made.reason else "a reset by hand"]
    return ", ".join(words if made.retains_anchor else [*words, "later resets count from it"])


def _opening(segment: Segment, by_hand: UsageReset | None) -> str:
    words = ["a reset"] if segment.is_reset else []
    if by_hand is not None:
        words = [_by_hand(by_hand)]
    if segment.forgiven:
        words.append(f"{figure(segment.forgiven)} overage forgiven")
    if segment.repaid:
        words.append(f"carried overage paid by {_burns(segment.repaid)}")
    return ", ".join(words) or "a change of grants"


def _burns(burns: Sequence[Burn]) -> str:
    named = (
        f"{figure(burn.amount)} of {'the allowance' if burn.grant_id == ALLOWANCE else burn.grant_id}"
        for burn in burns
    )
    return ", ".join(named) or "—"
