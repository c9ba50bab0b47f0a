from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, ClassVar, Protocol, Self, TypeGuard, runtime_checkable

import msgspec

from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.money import EXACT, format_decimal
from apps.rating.usage import Transaction, Usage

UNIT_PRICE_PLACES = 15
TIER_PLACES = 6


class Component(msgspec.Struct, frozen=True):
    """One priced part of a line: so many units at so much, plus a flat amount.

    Attributes:
        label: which part of the price it is, such as "tier 2".
        quantity: units (or packages) priced.
        unit_price: major units per unit.
        flat: amount charged beside the units.
        amount: exact `quantity × unit_price + flat`, not rounded.
    """

    label: str
    quantity: Decimal
    unit_price: Decimal
    flat: Decimal
    amount: Decimal


def component(label: str, quantity: Decimal, unit_price: Decimal, flat: Decimal = Decimal(0)) -> Component:
    """Make a component with its exact amount."""
    amount = EXACT.add(EXACT.multiply(quantity, unit_price), flat)
    return Component(label, quantity, unit_price, flat, amount)


def amount_of(components: Sequence[Component]) -> Decimal:
    """Give the exact sum of priced parts."""
    total = Decimal(0)
    for part in components:
        total = EXACT.add(total, part.amount)
    return total


@runtime_checkable
class PriceModel(Protocol):
    """How a quantity becomes an amount: parsed once from the wire's properties, then a pure function."""

    CODE: ClassVar[str]
    # Whether the amount so far may be billed before the period's quantity is final.
    IS_PROGRESSIVE: ClassVar[bool]
    # Properties as a person would write them, shown beside the form.
    EXAMPLE: ClassVar[Mapping[str, Any]]

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Self:
        """Read the wire's properties.

        Raises:
            InvalidError: naming every bad field as `properties.…`.
        """
        ...

    def components(self, quantity: Decimal) -> list[Component]:
        """Price a whole period's quantity; the amounts of the parts sum to the line's."""
        ...

    def describe(self) -> dict[str, Any]:
        """Give the price function as provenance records it; `from_description` reads it back."""
        ...

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        """Rebuild the model from its description, to recompute a line by its provenance alone."""
        ...


class Counter(Protocol):
    """Takes a period's transactions one by one, oldest first, and keeps only what decides their price."""

    def add(self, transaction: Transaction) -> None:
        """Count one more."""
        ...

    def counted(self) -> dict[str, Any]:
        """Give what was counted; see `Usage.counted`."""
        ...


@runtime_checkable
class TransactionPriceModel(PriceModel, Protocol):
    """A price model that looks at each event of the period, not only at their quantity."""

    def counter(self) -> Counter:
        """Begin to count a period."""
        ...

    def components_of(self, counted: Mapping[str, Any]) -> list[Component]:
        """Price what a counter gave."""
        ...

    def rate_path(self) -> str:
        """Give the path of the price in the event's data; empty where none comes with the usage."""
        ...


# Prices by dimension have some of them, and look at events only where those that they are made of do.
MEMBERS = (
    "CODE", "IS_PROGRESSIVE", "EXAMPLE", "parse", "components", "describe", "from_description",
    "counter", "components_of", "rate_path",
)  # fmt: skip


@lru_cache(maxsize=256)
def _looks_at_events(model: type) -> bool:
    return all(hasattr(model, name) for name in MEMBERS)


def looks_at_events(price: object) -> TypeGuard[TransactionPriceModel]:
    """Whether a price looks at each event; as `isinstance`, which compares every member at every call."""
    return _looks_at_events(type(price))  # type: ignore[arg-type]


def count(price: TransactionPriceModel, transactions: Iterable[Transaction]) -> dict[str, Any]:
    """Count a period's transactions, oldest first."""
    counter = price.counter()
    for transaction in transactions:
        counter.add(transaction)
    return counter.counted()


def components_of(price: PriceModel, usage: Usage) -> list[Component]:
    """Price the usage of a period: by what was counted of it, else by its quantity."""
    if usage.counted and looks_at_events(price):
        return price.components_of(usage.counted)
    return price.components(usage.quantity)


class Reader:
    """Reads fields of a properties object and collects what is wrong with them."""

    def __init__(self, properties: object, path: str = "properties") -> None:
        self.errors: list[FieldError] = []
        self.path = path
        self.properties: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
        if not isinstance(properties, Mapping):
            self.errors.append(FieldError(path, "Give an object.", "invalid"))

    def decimal(
        self,
        name: str,
        *,
        at: Mapping[str, Any] | None = None,
        path: str | None = None,
        default: Decimal | None = None,
        places: int = UNIT_PRICE_PLACES,
        low: Decimal | None = None,
        above: Decimal | None = None,
        high: Decimal | None = None,
    ) -> Decimal:
        """Read a decimal string; a wrong one is noted and read as 1."""
        source = self.properties if at is None else at
        field = f"{path or self.path}.{name}"
        raw = source.get(name)
        if raw is None and default is not None:
            return default
        if raw is None:
            return self._fail(field, "This field is required.", "required")
        value = self._number(raw)
        if value is None:
            return self._fail(field, 'Give a decimal number as a string, such as "0.002".', "invalid")
        exponent = value.normalize().as_tuple().exponent
        if isinstance(exponent, int) and -exponent > places:
            return self._fail(field, f"Use at most {places} decimal places.", "too_precise")
        if low is not None and value < low:
            return self._fail(field, f"Must be at least {format_decimal(low)}.", "too_small")
        if above is not None and value <= above:
            return self._fail(field, f"Must be above {format_decimal(above)}.", "too_small")
        if high is not None and value > high:
            return self._fail(field, f"Must be at most {format_decimal(high)}.", "too_large")
        if abs(value) >= Decimal("1e15"):
            return self._fail(field, "Is too large.", "too_large")
        return value

    def optional(self, name: str, *, places: int = UNIT_PRICE_PLACES, low: Decimal | None = None) -> Decimal | None:
        """Read a decimal string that may be left out or null."""
        if self.properties.get(name) is None:
            return None
        return self.decimal(name, places=places, low=low)

    @staticmethod
    def _number(raw: object) -> Decimal | None:
        if not isinstance(raw, str) or not 0 < len(raw) <= 60:
            return None
        try:
            value = Decimal(raw)
        except InvalidOperation:
            return None
        return value if value.is_finite() else None

    def _fail(self, field: str, message: str, code: str) -> Decimal:
        self.errors.append(FieldError(field, message, code))
        return Decimal(1)

    def check(self) -> None:
        """Raise for everything that was noted."""
        if self.errors:
            raise InvalidError("The price's properties are malformed.", errors=self.errors)
