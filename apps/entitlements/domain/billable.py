"""What of usage an allowance leaves to be paid."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.entitlements.domain.engine import Segment, total
from apps.entitlements.domain.grants import ZERO
from apps.kernel.money import EXACT


@dataclass(frozen=True, slots=True)
class Outcome:
    """Usage of a span, and what of it nothing covered.

    Attributes:
        left: what of that is still overage when the span ends; the rest was forgiven.
        older: overage from before the span that is still there when it ends.
    """

    usage: Decimal
    uncovered: Decimal
    left: Decimal
    older: Decimal


def outcome_of(segments: Iterable[Segment], *, start: datetime, end: datetime) -> Outcome:
    """Tell what of the usage of a span grants did not cover within the span.

    Units that come pay the oldest overage first, so overage from before the span, which an earlier bill had, is
    never taken off twice. Overage that is forgiven stays what it is: used and not covered.

    Args:
        segments: of a history that is cut at `start` and `end`.
        start: of the span, included.
        end: of the span, excluded.
    """
    usage = older = own = left_behind = ZERO
    for segment in segments:
        if segment.start >= end:
            break
        if segment.end <= start:
            older = segment.overage
            continue
        repaid = total(burn.amount for burn in segment.repaid)
        older, own = _repay(older, own, repaid)
        if segment.forgiven:
            left_behind, older, own = EXACT.add(left_behind, own), ZERO, ZERO
        usage = EXACT.add(usage, segment.usage)
        from_before = min(segment.burned, segment.overage_before)
        older, own = _repay(older, own, from_before)
        # Whatever of the overage at the end is not older than the span was used in it.
        older = min(older, segment.overage)
        own = EXACT.subtract(segment.overage, older)
    return Outcome(usage, EXACT.add(left_behind, own), own, older)


def _repay(older: Decimal, own: Decimal, amount: Decimal) -> tuple[Decimal, Decimal]:
    first = min(older, amount)
    return EXACT.subtract(older, first), max(EXACT.subtract(own, EXACT.subtract(amount, first)), ZERO)
