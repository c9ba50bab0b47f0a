"""Usage in credits: what the usage of metrics draws from a pool, at the terms their prices had at the time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.entitlements.domain.grants import ZERO
from apps.kernel.money import EXACT
from apps.rating.price_models import PriceModel, amount_of

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Tap:
    """A metric whose usage draws credits for some time.

    Attributes:
        price: its unit prices are in credits.
        is_linear: whether each unit draws the same, whatever else was used. Otherwise, with tiers or with usage that
            does not add up over time, what all of it since `start` comes to decides.
        end: excluded; None: it goes on.
    """

    price: PriceModel
    is_linear: bool
    start: datetime
    end: datetime | None = None

    def within(self, start: datetime, end: datetime) -> Span | None:
        """Give the part of a span in which it draws."""
        first, last = max(start, self.start), end if self.end is None else min(end, self.end)
        return (first, last) if first < last else None

    def asks_for(self, span: Span) -> Span:
        """Give the span whose usage has to be known for what is drawn in one within it."""
        return span if self.is_linear else (self.start, span[1])

    def credits(self, quantity: Decimal) -> Decimal:
        return amount_of(self.price.components(quantity))

    def drawn(self, quantities: Sequence[Decimal]) -> list[Decimal]:
        """Give what each of its spans draws; n quantities in, n amounts out, in order of time.

        Args:
            quantities: by span, as `asks_for` says.
        """
        amounts = [self.credits(quantity) for quantity in quantities]
        if self.is_linear:
            return amounts
        before, found = ZERO, []
        for amount in amounts:
            found.append(EXACT.subtract(amount, before))
            before = amount
        return found

    def cost(self, quantity: Decimal, *, used: Decimal) -> Decimal:
        """Give what so much more draws, at least 0: a cheaper tier for all of it gives nothing out of hand."""
        if self.is_linear:
            return self.credits(quantity)
        return max(EXACT.subtract(self.credits(EXACT.add(used, quantity)), self.credits(used)), ZERO)
