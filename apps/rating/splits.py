"""Charges whose terms change within their period: priced part by part, rounded as one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec

from apps.kernel.money import EXACT, format_decimal
from apps.kernel.time import Period, format_instant
from apps.rating.adjustments import QuantityTerms, part_of
from apps.rating.grouped import AnyPrice
from apps.rating.lines import PART, REST, Beside, RatedLine, rate_fee

ZERO = Decimal(0)


class FeePart(msgspec.Struct, frozen=True):
    """A time of a fee's period in which price and quantity stay the same.

    Attributes:
        quantity: of the full period.
        share: which part of the full period it is worth.
        terms: what changes the quantity.
    """

    price: AnyPrice
    quantity: Decimal
    period: Period
    share: Fraction
    terms: QuantityTerms | None = None


def split_terms(
    terms: QuantityTerms | None, quantities: Sequence[Decimal], weights: Sequence[Fraction] | None = None
) -> list[QuantityTerms | None]:
    """Share out what changes the quantity of a whole period to its parts; n quantities in, n terms out.

    Units are waived from the earliest part on. Bounds hold the whole period's quantity, and where they bind, every
    part is scaled by the same factor.

    Args:
        terms: of the whole period.
        quantities: of the parts: usage adds up to the whole.
        weights: how much of the period each part is, where a quantity holds for a time instead: the whole is their
            average.
    """
    if terms is None or len(quantities) == 1:
        return [terms] * len(quantities)
    left = terms.waived
    waived: list[Decimal] = []
    for quantity in quantities:
        waived.append(min(left, max(quantity, ZERO)))
        left = EXACT.subtract(left, waived[-1])
    kept = [EXACT.subtract(quantity, off) for quantity, off in zip(quantities, waived, strict=True)]
    total = _whole(kept, weights)
    bound = total if terms.minimum is None else max(total, Fraction(terms.minimum))
    bound = bound if terms.maximum is None else min(bound, Fraction(terms.maximum))
    # Nothing cannot be scaled: a quantity that holds then does so in each part, usage counts as of the last.
    set_to = part_of(Decimal(1), bound) if bound != total and not total > 0 else None
    scale = bound / total if total > 0 else Fraction(1)
    found: list[QuantityTerms | None] = []
    for index, off in enumerate(waived):
        is_set = set_to is not None and (weights is not None or index == len(waived) - 1)
        found.append(
            replace(terms, waived=off, minimum=None, maximum=None, scale=scale, set_to=set_to if is_set else None)
        )
    return found


def _whole(quantities: Sequence[Decimal], weights: Sequence[Fraction] | None) -> Fraction:
    """Give the quantity of a whole period: the sum, or the average of what holds for a time each."""
    if weights is None or not any(weights):
        return sum((Fraction(quantity) for quantity in quantities), Fraction(0))
    held = (Fraction(quantity) * weight for quantity, weight in zip(quantities, weights, strict=True))
    return sum(held, Fraction(0)) / sum(weights, Fraction(0))


def rate_fee_parts(
    parts: Sequence[FeePart],
    *,
    currency: str,
    whole: Period,
    basis: str,
    sources: Sequence[Mapping[str, Any]],
    calculated_at: datetime,
) -> list[RatedLine]:
    """Price the parts of a fee's period, a line each; n parts and their sources in, n lines out, same order.

    The lines sum to what the exact amounts come to when they are rounded once: each takes over what rounding left of
    the one before.
    """
    found: list[RatedLine] = []
    left = ZERO
    for part, named in zip(parts, sources, strict=True):

        def rate(besides: Sequence[Beside], part: FeePart = part, named: Mapping[str, Any] = named) -> RatedLine:
            return rate_fee(
                price=part.price,
                quantity=part.quantity,
                currency=currency,
                period=part.period,
                sources=named,
                calculated_at=calculated_at,
                share=part.share,
                whole=whole,
                basis=basis,
                terms=part.terms,
                besides=besides,
            )

        rated = rate(())
        # A part of nothing takes nothing over, so that it stays nothing.
        if rated.exact:
            rated = rate([Beside(left, REST)]) if left else rated
            left = EXACT.subtract(rated.exact, rated.subtotal)
        found.append(rated)
    return found


def rate_fee_sum(
    parts: Sequence[FeePart],
    *,
    currency: str,
    period: Period,
    whole: Period,
    basis: str,
    sources: Mapping[str, Any],
    calculated_at: datetime,
) -> RatedLine:
    """Price the parts of a fee's period, at least one, as one amount that is rounded once.

    Args:
        period: what the line is shown to be about.
    """
    first, *rest = parts
    besides = []
    for part in rest:
        rated = rate_fee(
            price=part.price,
            quantity=part.quantity,
            currency=currency,
            period=part.period,
            sources={},
            calculated_at=calculated_at,
            share=part.share,
            whole=whole,
            terms=part.terms,
        )
        params = {
            "quantity": format_decimal(rated.quantity),
            "price": part.price.describe(),
            "numerator": str(part.share.numerator),
            "denominator": str(part.share.denominator),
            "billedWindow": {"start": format_instant(part.period.start), "end": format_instant(part.period.end)},
        }
        besides.append(Beside(rated.exact, PART, params))
    return rate_fee(
        price=first.price,
        quantity=first.quantity,
        currency=currency,
        period=period,
        sources=sources,
        calculated_at=calculated_at,
        share=first.share,
        whole=whole,
        basis=basis,
        terms=first.terms,
        besides=besides,
    )
