"""Taxes of a document: computed per rate on the sum of its lines, then shared out to them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from apps.kernel.money import EXACT, allocate, minor_digits, round_money


@dataclass(frozen=True, slots=True)
class TaxedAmount:
    """What a line is worth before tax and what tax it carries; their sum is what is owed."""

    net: Decimal
    tax: Decimal


def tax_lines(
    amounts: Sequence[Decimal], rates: Sequence[Decimal], *, currency: str, is_inclusive: bool
) -> list[TaxedAmount]:
    """Tax the lines of one document.

    Args:
        amounts: rounded line amounts; without tax, or with it when `is_inclusive`.
        rates: percent of each line, same order; 0 where nothing is owed.
        currency: decides the minor unit.
        is_inclusive: the amounts contain the tax already.

    Returns:
        One result a line, same order. Per rate the taxes sum to the rounded tax on the lines' sum.
    """
    by_rate: dict[Decimal, list[int]] = defaultdict(list)
    for index, rate in enumerate(rates):
        by_rate[rate].append(index)
    results = [TaxedAmount(amount, Decimal(0)) for amount in amounts]
    digits = minor_digits(currency)
    for rate, indexes in by_rate.items():
        base = sum((amounts[index] for index in indexes), Decimal(0))
        share = EXACT.divide(rate, EXACT.add(rate, Decimal(100)) if is_inclusive else Decimal(100))
        tax = round_money(EXACT.multiply(base, share), currency)
        if not tax:
            continue
        for index, part in zip(indexes, _shares(tax, [amounts[i] for i in indexes], digits), strict=True):
            net = EXACT.subtract(amounts[index], part) if is_inclusive else amounts[index]
            results[index] = TaxedAmount(net, part)
    return results


def _shares(tax: Decimal, amounts: Sequence[Decimal], digits: int) -> list[Decimal]:
    """Share a tax out by the lines' amounts; mixed signs are split among the lines of the tax's own sign."""
    same_sign = [amount if (amount > 0) == (tax > 0) else Decimal(0) for amount in amounts]
    return allocate(tax, [abs(amount) for amount in same_sign], digits=digits)
