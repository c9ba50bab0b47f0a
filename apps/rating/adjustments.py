"""What is agreed with one subscriber beside its prices: units waived, bounds of a quantity, a percentage off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from apps.kernel.money import EXACT, format_decimal, round_to
from apps.rating.steps import step_of

ZERO = Decimal(0)
QUANTITY_PLACES = 9


@dataclass(frozen=True, slots=True)
class QuantityTerms:
    """What changes a quantity before it is priced.

    Attributes:
        waived: units that are not billed, all discounts together.
        minimum: the greatest of the minimums; None without one.
        maximum: the least of the maximums; None without one.
        waived_by: ids of the agreements that waive them.
        bounded_by: ids of those that set the bounds.
        scale: what a part of a period is multiplied by, where the whole was held within the bounds.
        set_to: the quantity of each part, where the whole had none to scale.
    """

    waived: Decimal = ZERO
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    waived_by: tuple[str, ...] = ()
    bounded_by: tuple[str, ...] = ()
    scale: Fraction = Fraction(1)
    set_to: Decimal | None = None

    def waive(self, quantity: Decimal) -> Decimal:
        """Take the waived units off, never below zero."""
        return quantity if not self.waived else max(EXACT.subtract(quantity, self.waived), ZERO)

    def bound(self, quantity: Decimal) -> Decimal:
        """Hold a quantity within the bounds; where they contradict each other, the maximum holds."""
        if self.minimum is not None:
            quantity = max(quantity, self.minimum)
        return quantity if self.maximum is None else min(quantity, self.maximum)

    def fit(self, quantity: Decimal) -> Decimal:
        """Scale the quantity of a part as the whole was, to 9 places."""
        if self.set_to is not None:
            return self.set_to
        return quantity if self.scale == 1 else round_to(part_of(quantity, self.scale), QUANTITY_PLACES)


@dataclass(frozen=True, slots=True)
class Discount:
    """A percentage off.

    Attributes:
        source: id of the agreement.
        name: what the subscriber reads.
        rate: from 0 to 1.
        share: the part of the period in which it holds.
    """

    source: str
    name: str
    rate: Decimal
    share: Fraction = Fraction(1)

    @property
    def part(self) -> Fraction:
        """The part of an amount that it takes off."""
        return Fraction(self.rate) * self.share


def kept(discounts: Sequence[Discount]) -> Fraction:
    """Give the part of an amount that discounts leave: each takes its part of what the others left."""
    left = Fraction(1)
    for discount in discounts:
        left *= 1 - discount.part
    return left


def part_of(amount: Decimal, part: Fraction) -> Decimal:
    """Give a part of an amount, exact to 80 digits."""
    return EXACT.divide(EXACT.multiply(amount, Decimal(part.numerator)), Decimal(part.denominator))


def quantity_steps(quantity: Decimal, terms: QuantityTerms | None) -> tuple[list[dict[str, Any]], Decimal]:
    """Give the steps that change a quantity, and what they make of it."""
    steps: list[dict[str, Any]] = []
    if terms is None:
        return steps, quantity
    for op, changed, params, sources in (
        ("subtract", terms.waive, {"units": format_decimal(terms.waived)}, terms.waived_by),
        ("clamp", terms.bound, {"min": _optional(terms.minimum), "max": _optional(terms.maximum)}, terms.bounded_by),
        ("scaleToBound", terms.fit, _scale(terms), terms.bounded_by),
    ):
        after = changed(quantity)
        if after != quantity:
            given = {**params, "adjustmentIds": list(sources)}
            steps.append(step_of(op, "quantity", format_decimal(quantity), after, given, "adjustments"))
        quantity = after
    return steps, quantity


def _scale(terms: QuantityTerms) -> dict[str, Any]:
    if terms.set_to is not None:
        return {"quantity": format_decimal(terms.set_to)}
    return {"numerator": str(terms.scale.numerator), "denominator": str(terms.scale.denominator)}


def _optional(value: Decimal | None) -> str | None:
    return None if value is None else format_decimal(value)


def less(amount: Decimal, discounts: Sequence[Discount]) -> Decimal:
    """Take percentages off an amount; a rebate has none."""
    return part_of(amount, kept(discounts)) if discounts and amount > 0 else amount


def scaling(discounts: Sequence[Discount]) -> dict[str, Any]:
    """Give the parameters of the step that takes percentages off."""
    left = kept(discounts)
    terms = [
        {"by": format_decimal(discount.rate), "share": str(discount.share), "label": discount.source}
        for discount in discounts
    ]
    return {"numerator": str(left.numerator), "denominator": str(left.denominator), "terms": terms}


def agreed(
    steps: Sequence[Mapping[str, Any]], terms: QuantityTerms | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Give the source of what is agreed, as provenance names it, and what of it changed nothing on a line."""
    used: set[str] = set()
    for step in steps:
        if step["source"] == "adjustments":
            used.update(step["params"].get("adjustmentIds") or [term["label"] for term in step["params"]["terms"]])
    known = used if terms is None else {*used, *terms.waived_by, *terms.bounded_by}
    if not known:
        return {}, []
    source = {"type": "subscriptionAdjustment", "ref": {"adjustmentIds": sorted(known)}}
    idle = sorted(known - used)
    not_applied = [{"source": "adjustments", "reason": "notBinding", "adjustmentIds": idle}] if idle else []
    return {"adjustments": source}, not_applied
