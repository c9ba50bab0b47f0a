"""Marks that a growing value passes: some named, and then one every so much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from itertools import pairwise
from typing import Any, Self

from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.money import EXACT, format_decimal

PERIOD, LIFETIME = "period", "lifetime"
SCOPES = (PERIOD, LIFETIME)
MOST_MARKS = 50
# So many steps of a recurring mark are told one by one; of more at once, the last ones.
MOST_STEPS = 100
HIGHEST = Decimal("1e15")
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Marks:
    """Where a value is noticed.

    Attributes:
        once: values in ascending order.
        every: the step that repeats beyond the last of them (or from 0); None without one.
    """

    once: tuple[Decimal, ...] = ()
    every: Decimal | None = None

    @classmethod
    def parse(cls, once: Any, every: Any, *, path: str, name: str, places: int) -> Self:
        """Read marks in the wire's form.

        Args:
            once: list of decimal strings.
            every: a decimal string, or None.
            path: of the object that has them, ending in a dot unless empty.
            name: what the object calls the list.
            places: most decimal places of a value.

        Raises:
            InvalidError: naming every bad field.
        """
        errors: list[FieldError] = []
        rows = [] if once is None else once
        if not isinstance(rows, list) or len(rows) > MOST_MARKS:
            errors.append(FieldError(f"{path}{name}", f"Give a list of at most {MOST_MARKS} values.", "invalid"))
            rows = []
        found = [_read(errors, f"{path}{name}.{number}", row, places) for number, row in enumerate(rows)]
        if not errors and any(low >= high for low, high in pairwise(found)):
            errors.append(FieldError(f"{path}{name}", "Give ascending values, each once.", "invalid"))
        step = None if every is None else _read(errors, f"{path}every", every, places)
        if not errors and not found and step is None:
            errors.append(FieldError(f"{path}{name}", "Give a value, or every.", "required"))
        if errors:
            raise InvalidError("The thresholds are malformed.", errors=errors)
        return cls(tuple(found), step)

    def crossed(self, previous: Decimal, current: Decimal, *, is_rising: bool = True) -> list[Decimal]:
        """Give the marks that a value went past between two looks, in ascending order.

        A rising value passes a mark when it reaches it, a falling one as well. Falling, the step repeats below the
        lowest mark (or below 0).
        """
        if is_rising:
            once = [mark for mark in self.once if previous < mark <= current]
            return once + self._steps(self.once[-1] if self.once else ZERO, previous, current)
        once = [mark for mark in self.once if current <= mark < previous]
        base = self.once[0] if self.once else ZERO
        return sorted(once + [-step for step in self._steps(-base, -previous, -current)])

    def progress(self, value: Decimal) -> list[tuple[Decimal, Decimal]]:
        """Give each mark with how far a value is from the one before to it, from 0 to 1.

        Of the recurring ones, the one that is next.
        """
        marks = list(self.once)
        if self.every is not None:
            base = marks[-1] if marks else ZERO
            marks.append(EXACT.add(base, EXACT.multiply(self.every, max(_whole(value, base, self.every), ZERO) + 1)))
        found, before = [], ZERO
        for number, mark in enumerate(marks):
            if self.every is not None and number == len(marks) - 1:
                before = EXACT.subtract(mark, self.every)
            share = EXACT.divide(EXACT.subtract(value, before), EXACT.subtract(mark, before))
            found.append((mark, min(max(share, ZERO), Decimal(1))))
            before = mark
        return found

    def _steps(self, base: Decimal, previous: Decimal, current: Decimal) -> list[Decimal]:
        if self.every is None:
            return []
        first = max(_whole(previous, base, self.every), ZERO) + 1
        last = _whole(current, base, self.every)
        first = max(first, last - MOST_STEPS + 1)
        return [
            EXACT.add(base, EXACT.multiply(self.every, Decimal(number)))
            for number in range(int(first), int(last) + 1)
        ]


@dataclass(frozen=True, slots=True)
class BillingThresholds:
    """Amounts of usage at which it is billed before the end of the period.

    Attributes:
        marks: in major units.
        scope: whether the usage of each period counts for itself, or all since the start of the subscription.
    """

    marks: Marks
    scope: str = PERIOD

    @classmethod
    def parse(cls, raw: Any, *, digits: int, path: str = "billingThresholds") -> Self:
        """Read the wire's form, `{"amounts": ["100", "500"], "every": "500", "scope": "period"}`.

        Args:
            raw: what was sent.
            digits: decimal places of the currency.
            path: of the object, for errors; empty where it is the whole body.

        Raises:
            InvalidError: naming every bad field.
        """
        at = f"{path}." if path else ""
        if not isinstance(raw, Mapping):
            raise InvalidError(
                "The thresholds are malformed.", errors=[FieldError(path, "Give an object, or null.", "invalid")]
            )
        unknown = sorted(set(raw) - {"amounts", "every", "scope"})
        scope = raw.get("scope", PERIOD)
        errors = [FieldError(f"{at}{name}", "There is no such field.", "unknown") for name in unknown]
        if scope not in SCOPES:
            errors.append(FieldError(f"{at}scope", f"Give {PERIOD} or {LIFETIME}.", "invalid"))
        marks = Marks()
        try:
            marks = Marks.parse(raw.get("amounts"), raw.get("every"), path=at, name="amounts", places=digits)
        except InvalidError as error:
            errors += error.errors
        if errors:
            raise InvalidError("The thresholds are malformed.", errors=errors)
        return cls(marks, scope)

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any] | None) -> Self | None:
        """Give what a column holds; None where it says that there are none."""
        if not stored:
            return None
        return cls(marks_of(stored["amounts"], stored["every"]), stored["scope"])

    def as_stored(self) -> dict[str, Any]:
        """Give the wire's form, which is what is stored."""
        every = self.marks.every
        return {
            "amounts": [format_decimal(amount) for amount in self.marks.once],
            "every": None if every is None else format_decimal(every),
            "scope": self.scope,
        }


def _read(errors: list[FieldError], field: str, raw: Any, places: int) -> Decimal:
    try:
        value = Decimal(raw) if isinstance(raw, str) and len(raw) <= 60 else None
    except ArithmeticError:
        value = None
    exponent = value.normalize().as_tuple().exponent if value is not None and value.is_finite() else None
    if value is None or not isinstance(exponent, int):
        errors.append(FieldError(field, 'Give a decimal number as a string, such as "100.00".', "invalid"))
    elif not ZERO < value <= HIGHEST:
        errors.append(FieldError(field, "Must be above 0, and at most 10^15.", "out_of_range"))
    elif -exponent > places:
        errors.append(FieldError(field, f"Use at most {places} decimal places.", "too_precise"))
    else:
        return value
    return Decimal(1)


def _whole(value: Decimal, base: Decimal, step: Decimal) -> Decimal:
    """Give how many whole steps lie between a base and a value; negative below it."""
    return EXACT.divide(EXACT.subtract(value, base), step).to_integral_value(rounding=ROUND_FLOOR)


def marks_of(once: Sequence[str], every: str | None) -> Marks:
    """Give marks that are stored as decimal strings."""
    return Marks(tuple(Decimal(value) for value in once), None if every is None else Decimal(every))
