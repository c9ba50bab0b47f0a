"""What usage leaves where no grant ends: only sums matter then, however many grants there are."""

from decimal import Decimal

from apps.entitlements.domain.engine import State
from apps.entitlements.domain.grants import ZERO
from apps.kernel.money import EXACT


def spent(state: State, *, balance: Decimal, used: Decimal, beyond: Decimal = ZERO) -> tuple[Decimal, Decimal]:
    """Give balance and overage after usage: what the engine gives for one segment, without who paid for what.

    And for several, as long as usage only grew and nothing but the beginning of grants is between them.

    Args:
        state: when the segment begins, with everything that happens then.
        balance: what it has, and the units of grants that begin in the segment.
        used: in the segment; below 0 where more was taken back.
        beyond: dated after the segment, which counts already.
    """
    due = EXACT.subtract(used, state.credit)
    credit, due = (-due, ZERO) if due < 0 else (ZERO, due)
    settled = min(credit, state.overage)
    # What is taken back settles overage first; only usage beyond is set off against the rest of it.
    ahead = max(EXACT.subtract(beyond, EXACT.subtract(credit, settled)), ZERO)
    needed = EXACT.add(EXACT.add(EXACT.subtract(state.overage, settled), due), ahead)
    burned = min(balance, needed)
    return EXACT.subtract(balance, burned), EXACT.subtract(needed, burned)
