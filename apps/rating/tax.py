"""Taxes of a document: computed per rate on the sum of its lines, then shared out to them."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from decimal import Decimal

import msgspec

from apps.kernel.money import EXACT, allocate, minor_digits, round_money

ZERO, HUNDRED = Decimal(0), Decimal(100)


class TaxedAmount(msgspec.Struct, frozen=True):
    """What a line is worth before tax and what tax it carries; their sum is what is owed.

    Attributes:
        parts: the tax by rate, where several are added up; they sum to it.
    """

    net: Decimal
    tax: Decimal
    parts: tuple[Decimal, ...] = ()


def tax_lines(
    amounts: Sequence[Decimal], rates: Sequence[Decimal], *, currency: str, is_inclusive: bool
) -> list[TaxedAmount]:
    """Tax the lines of one document that have one rate each.

    Args:
        amounts: rounded line amounts; without tax, or with it when `is_inclusive`.
        rates: percent of each line, same order; 0 where nothing is owed.
        currency: decides the minor unit.
        is_inclusive: the amounts contain the tax already.

    Returns:
        One result a line, same order. Per rate the taxes sum to the rounded tax on the lines' sum.
    """
    return tax_stacked(amounts, [((rate, rate),) for rate in rates], currency=currency, is_inclusive=is_inclusive)


def tax_stacked(
    amounts: Sequence[Decimal],
    taxes: Sequence[Sequence[tuple[Hashable, Decimal]]],
    *,
    currency: str,
    is_inclusive: bool,
) -> list[TaxedAmount]:
    """Tax the lines of one document, each by taxes that are added up.

    Each tax is rounded once, on the sum of the lines that have it, and shared out to them. Of inclusive amounts the
    taxes together are, of the lines that have the same ones, and shared out to the taxes by their rates first.

    Args:
        amounts: rounded line amounts; without tax, or with it when `is_inclusive`.
        taxes: of each line, same order: what tells a tax from another, and its percent; none where nothing is owed.
        currency: decides the minor unit.
        is_inclusive: the amounts contain the tax already.

    Returns:
        One result a line, same order, with a part for each of its taxes.
    """
    digits = minor_digits(currency)
    parts: list[list[Decimal]] = [[ZERO] * len(own) for own in taxes]
    # Most lines share what is decided of their taxes, and then its object, which need not be compared.
    alike: dict[int, list[int]] = defaultdict(list)
    for index, own in enumerate(taxes):
        alike[id(own)].append(index)
    places: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    for indices in alike.values():
        own = taxes[indices[0]]
        for place, tax in enumerate(own):
            if not tax[1]:
                continue
            # What inclusive amounts contain depends on all taxes of the line.
            key = (tax, tuple(own)) if is_inclusive else tax
            places[key] += [(index, place) for index in indices]
    for held in places.values():
        # What rounding leaves goes to the earlier lines.
        held.sort()
        bases = [amounts[index] for index, _ in held]
        index, place = held[0]
        rates = [rate for _, rate in taxes[index]]
        amount = _tax(sum(bases, ZERO), rates, place, currency, digits, is_inclusive=is_inclusive)
        for (line, at), share in zip(held, _shares(amount, bases, digits), strict=True):
            parts[line][at] = share
    return [_taxed(amount, shares, is_inclusive=is_inclusive) for amount, shares in zip(amounts, parts, strict=True)]


def _taxed(amount: Decimal, parts: Sequence[Decimal], *, is_inclusive: bool) -> TaxedAmount:
    tax = parts[0] if len(parts) == 1 else sum(parts, ZERO)
    return TaxedAmount(EXACT.subtract(amount, tax) if is_inclusive else amount, tax, tuple(parts))


def _tax(
    base: Decimal, rates: Sequence[Decimal], place: int, currency: str, digits: int, *, is_inclusive: bool
) -> Decimal:
    """Give one of the taxes on a sum of amounts, rounded."""
    if not is_inclusive:
        return round_money(EXACT.multiply(base, EXACT.divide(rates[place], HUNDRED)), currency)
    total = sum(rates, ZERO)
    whole = round_money(EXACT.multiply(base, EXACT.divide(total, EXACT.add(total, HUNDRED))), currency)
    return allocate(whole, rates, digits=digits)[place] if len(rates) > 1 and total else whole


def _shares(tax: Decimal, amounts: Sequence[Decimal], digits: int) -> list[Decimal]:
    """Share a tax out by the lines' amounts; mixed signs are split among the lines of the tax's own sign."""
    if not tax or len(amounts) == 1:
        return [tax] * len(amounts)
    same_sign = [amount if (amount > 0) == (tax > 0) else ZERO for amount in amounts]
    return allocate(tax, [abs(amount) for amount in same_sign], digits=digits)
