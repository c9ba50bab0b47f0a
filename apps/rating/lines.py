"""From a quantity and a price to a line: one fixed order of steps, each written down.

The order is: units waived → bounds of the quantity → price model → proration of the amount → percentages off → what
was billed before → rounding. Every step goes into the line's provenance, from which `recompute` gets the same amount
again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec

from apps.kernel.money import EXACT, format_decimal, minor_digits, round_money, round_to
from apps.kernel.time import Period, format_instant
from apps.rating.adjustments import Discount, QuantityTerms, agreed, less, quantity_steps, scaling
from apps.rating.grouped import AnyPrice, priced
from apps.rating.price_models import Component, amount_of
from apps.rating.steps import step_of, step_said
from apps.rating.usage import Usage

SIGNIFICANT_DIGITS = 38
ROUNDING = "HALF_UP"
# Marks the step by which a correction takes over what an earlier one could not give back.
CARRIED = "carried"
# Marks the step that takes off what an allowance pays for.
ALLOWANCE = "entitlement"
# Marks the step by which usage in credits costs no money.
CREDITS = "pricingUnit"
# Mark what a part of a period takes over: the amount of another part, or what rounding left of it.
PART, REST = "part", "rounding"
# Thirds of a cent's half add up to it again: beyond these places are only errors of the last digits of parts.
SUM_PLACES = 45


class RatedLine(msgspec.Struct, frozen=True):
    """A priced line.

    Attributes:
        quantity: units billed by this line.
        unit_price: the price of one, effective where tiers mix (subtotal is authoritative).
        components: the priced parts, exact.
        exact: amount before rounding, major units.
        subtotal: the amount, rounded once to the currency's minor unit.
        provenance: the calculation in the wire's form.
    """

    quantity: Decimal
    unit_price: Decimal
    components: tuple[Component, ...]
    exact: Decimal
    subtotal: Decimal
    provenance: Mapping[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Billed:
    """What earlier lines billed for a period.

    Attributes:
        usage: its usage then.
        quantity: what of it was priced.
        amount: what that came to before percentages off, exact, major units.
    """

    usage: Usage
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Beside:
    """An exact amount that a fee's line takes over, in major units: of another part, or what rounding one left."""

    amount: Decimal
    kind: str
    params: Mapping[str, Any] = field(default_factory=dict)


def rate_usage(
    *,
    price: AnyPrice,
    usage: Usage,
    currency: str,
    period: Period,
    sources: Mapping[str, Any],
    calculated_at: datetime,
    terms: QuantityTerms | None = None,
    already_billed: Billed | None = None,
    discounts: Sequence[Discount] = (),
    carried: Decimal = Decimal(0),
    described: Mapping[str, Any] | None = None,
    pricing_unit: str = "",
) -> RatedLine:
    """Price the usage of a period, or what late usage adds to one that was billed.

    Args:
        price: the parsed price.
        usage: usage of the whole period, now.
        currency: decides the minor unit.
        period: what is billed.
        sources: where the quantity and the price come from, for provenance.
        calculated_at: for provenance.
        terms: what changes the quantity before it is priced; a price that looks deeper than the quantity ignores it.
        already_billed: what earlier invoices billed for the same period; the line is then the difference
            `amount(now) − amount(billed)`.
        discounts: percentages off such a difference, which other lines have as lines of their own.
        carried: what earlier corrections of the period could not give back, because their invoices would have
            fallen below zero; 0 or less.
        described: the price as provenance says it, where it is at hand.
        pricing_unit: what the price is in, if not in money: then nothing is owed, and what it comes to are credits.
    """
    steps, quantity = quantity_steps(usage.uncovered, None if usage.counted else terms)
    if usage.covered:
        steps.insert(0, _covered_step(usage))
    parts = priced(price, Usage(quantity, usage.counted))
    amount = amount_of(parts)
    params: dict[str, Any] = {"quantity": format_decimal(quantity)}
    if usage.counted:
        params["counted"] = dict(usage.counted)
    if described is None:
        described = price.describe()
    steps.append(step_of("evaluate", "price", described, amount, params, "price"))
    billed_quantity = quantity
    if already_billed is not None:
        before = less(already_billed.amount, discounts)
        if discounts and amount > 0:
            whole, amount = amount, less(amount, discounts)
            steps.append(step_of("scale", "amount", format_decimal(whole), amount, scaling(discounts), "adjustments"))
        after, amount = amount, EXACT.subtract(amount, before)
        billed_quantity = EXACT.subtract(quantity, already_billed.quantity)
        steps.append(
            step_of(
                "subtract",
                "amount",
                format_decimal(after),
                amount,
                {"amount": format_decimal(before), "quantity": format_decimal(already_billed.quantity)},
                "earlierInvoice",
            )
        )
    if carried:
        before, amount = amount, EXACT.add(amount, carried)
        params = {"amount": format_decimal(-carried), "kind": CARRIED}
        steps.append(step_of("subtract", "amount", format_decimal(before), amount, params, "earlierInvoice"))
    if pricing_unit:
        drawn, amount = amount, Decimal(0)
        params = {"amount": "0", "credits": format_decimal(drawn), "pricingUnitId": pricing_unit}
        steps.append(step_of("replace", "amount", format_decimal(drawn), amount, params, CREDITS))
    subtotal = rounded(amount, currency)
    steps.append(rounding_step(format_decimal(amount), format_decimal(subtotal), currency))
    unit_price = Decimal(0) if pricing_unit else unit_price_of(parts, amount, billed_quantity)
    return RatedLine(
        quantity=billed_quantity,
        unit_price=unit_price,
        components=tuple(parts),
        exact=amount,
        subtotal=subtotal,
        provenance=provenance_of(
            kind="metered",
            quantity=format_decimal(usage.quantity),
            described=described,
            currency=currency,
            period=period,
            sources=sources,
            steps=steps,
            billed_quantity=format_decimal(billed_quantity),
            unit_price=format_decimal(unit_price),
            calculated_at=calculated_at,
            terms=terms,
        ),
    )


def rate_fee(
    *,
    price: AnyPrice,
    quantity: Decimal,
    currency: str,
    period: Period,
    sources: Mapping[str, Any],
    calculated_at: datetime,
    share: Fraction = Fraction(1),
    whole: Period | None = None,
    basis: str = "second",
    terms: QuantityTerms | None = None,
    besides: Sequence[Beside] = (),
) -> RatedLine:
    """Price a fixed charge, or the part of it that a short period is worth.

    Args:
        terms: bounds of the quantity, of the whole period.
        besides: what is added before the amount is rounded.
        share: which part of the full period is billed; 1 bills it whole.
        whole: the full period, for provenance.
        basis: how the share was measured.
    """
    steps, billed_quantity = quantity_steps(quantity, terms)
    parts = price.components(billed_quantity)
    amount = amount_of(parts)
    params = {"quantity": format_decimal(billed_quantity)}
    described = price.describe()
    steps.append(step_of("evaluate", "price", described, amount, params, "price"))
    if share != 1:
        full = amount
        amount = EXACT.divide(EXACT.multiply(full, Decimal(share.numerator)), Decimal(share.denominator))
        window = whole or period
        steps.append(
            step_of(
                "prorate",
                "amount",
                format_decimal(full),
                amount,
                {
                    "numerator": str(share.numerator),
                    "denominator": str(share.denominator),
                    "basis": basis,
                    "billedWindow": _window(period),
                    "fullWindow": _window(window),
                },
                "period",
            )
        )
    for beside in besides:
        less = beside.amount.copy_negate()
        before, amount = amount, EXACT.subtract(amount, less)
        params = {"amount": format_decimal(less), "kind": beside.kind, **beside.params}
        steps.append(step_of("subtract", "amount", format_decimal(before), amount, params, "period"))
    subtotal = rounded(amount, currency)
    steps.append(rounding_step(format_decimal(amount), format_decimal(subtotal), currency))
    unit_price = unit_price_of(parts, amount_of(parts), billed_quantity)
    return RatedLine(
        quantity=billed_quantity,
        unit_price=unit_price,
        components=tuple(parts),
        exact=amount,
        subtotal=subtotal,
        provenance=provenance_of(
            kind="fee",
            quantity=format_decimal(quantity),
            described=described,
            currency=currency,
            period=period,
            sources=sources,
            steps=steps,
            billed_quantity=format_decimal(billed_quantity),
            unit_price=format_decimal(unit_price),
            calculated_at=calculated_at,
            terms=terms,
        ),
    )


def _covered_step(usage: Usage) -> dict[str, Any]:
    given = {"units": format_decimal(usage.covered)}
    return step_of("subtract", "quantity", format_decimal(usage.quantity), usage.uncovered, given, ALLOWANCE)


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Round the exact amount of a line, once."""
    return round_money(round_to(amount, SUM_PLACES), currency)


def rounding_step(amount: str, subtotal: str, currency: str) -> dict[str, Any]:
    """Write down what `rounded` did."""
    params = {"digits": minor_digits(currency), "mode": ROUNDING}
    return step_said("round", "amount", amount, subtotal, params, "currency")


def unit_price_of(parts: Sequence[Component], amount: Decimal, quantity: Decimal) -> Decimal:
    """Give the price of one unit: the plain one when there is one, else the average of the line."""
    if len(parts) == 1 and parts[0].quantity == quantity and not parts[0].flat:
        return parts[0].unit_price
    if quantity == 0:
        return parts[0].unit_price if len(parts) == 1 else Decimal(0)
    return round_to(EXACT.divide(amount, quantity), 15)


def _window(period: Period) -> dict[str, str]:
    return {"start": format_instant(period.start), "end": format_instant(period.end)}


def provenance_of(
    *,
    kind: str,
    quantity: str,
    described: Mapping[str, Any],
    currency: str,
    period: Period,
    sources: Mapping[str, Any],
    steps: Sequence[dict[str, Any]],
    billed_quantity: str,
    unit_price: str,
    calculated_at: datetime,
    terms: QuantityTerms | None = None,
) -> dict[str, Any]:
    """Give the calculation of a line in the wire's form; its figures are texts already."""
    adjustments, not_applied = agreed(steps, terms)
    chosen = "quantity" if "quantity" in sources else "price"
    quantity_source = "usage" if kind == "metered" else chosen
    return {
        "status": "available",
        "version": 1,
        "currency": currency,
        "precision": {"significantDigits": SIGNIFICANT_DIGITS, "rounding": ROUNDING},
        "period": _window(period),
        "calculatedAt": format_instant(calculated_at),
        "inputs": {
            "kind": kind,
            "quantity": {"value": quantity, "source": quantity_source},
            "price": {"fn": described, "source": "price"},
        },
        "sources": {**sources, **adjustments},
        "steps": steps,
        "notApplied": not_applied,
        # Rounding comes last.
        "result": {"amount": steps[-1]["out"], "quantity": billed_quantity, "unitPrice": unit_price},
    }
