"""What a price is given to price: a quantity, or the single transactions it is made of."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from apps.kernel.money import EXACT


class Transaction(msgspec.Struct, frozen=True):
    """One event as a price sees it.

    Attributes:
        value: what the event counts for in its metric.
        rate: the price of its units, that came with the event or was in force at its time; None when there was none.
        group: values of the metric's dimensions.
        events: how many it stands for; more than one only where a feed gives them the same rate.
    """

    value: Decimal
    rate: Decimal | None = None
    group: Mapping[str, str] = msgspec.field(default_factory=dict)
    events: int = 1


class Usage(msgspec.Struct, frozen=True):
    """The usage of one charge.

    Attributes:
        quantity: usage of the period, as the metric aggregates it.
        covered: units of the quantity that an allowance pays for, or that nobody may be charged.
        counted: what a price that looks deeper than the quantity counted, in JSON's types with decimals as strings:
            enough to price it again. Empty where the quantity says all.
    """

    quantity: Decimal
    counted: Mapping[str, Any] = msgspec.field(default_factory=dict)
    covered: Decimal = Decimal(0)

    @property
    def uncovered(self) -> Decimal:
        """What is left to be priced."""
        return EXACT.subtract(self.quantity, self.covered) if self.covered else self.quantity
