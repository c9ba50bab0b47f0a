"""Whether a customer may use a feature at a moment."""

from datetime import datetime
from decimal import Decimal


def is_in_force(*, active_from: datetime, active_to: datetime | None, at: datetime) -> bool:
    """Whether a right holds at a moment; its end is the first moment it does not."""
    return active_from <= at and (active_to is None or at < active_to)


def has_balance(*, balance: Decimal, is_soft: bool) -> bool:
    """Whether units are left, or none are needed."""
    return is_soft or balance > 0


def has_room(*, balance: Decimal, held: Decimal, quantity: Decimal, is_soft: bool) -> bool:
    """Whether so much more may be used: it fits into what is left beside what others hold.

    A quantity of 0 asks for access alone, which needs something left.
    """
    if is_soft:
        return True
    free = balance - held
    return free >= quantity if quantity > 0 else free > 0
