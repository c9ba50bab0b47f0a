"""Lines that take something off other lines of their invoice, each in the tax rate of the line it is off."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from apps.invoicing.domain.targets import TargetLine
from apps.kernel.money import EXACT, format_decimal
from apps.kernel.time import format_instant

PREFIX = "discount:"
# How the ids of redeemed coupons begin, by which their lines are told from other discounts.
COUPON = "cpa_"


def source_of(reference: str) -> str:
    """Give what took something off, by the reference of its line."""
    return reference.split(":", 2)[1]


def charge_of(reference: str) -> str:
    """Give the reference of the line that a line is off."""
    return reference.split(":", 2)[2]


def left_of_lines(lines: Iterable[TargetLine]) -> dict[str, Decimal]:
    """Give what lines come to when what is off them is taken off, by their reference."""
    left: dict[str, Decimal] = {}
    off: dict[str, Decimal] = {}
    for line in lines:
        if line.reference.startswith(PREFIX):
            charge = charge_of(line.reference)
            off[charge] = EXACT.add(off.get(charge, Decimal(0)), line.gross)
        else:
            left[line.reference] = line.gross
    return {reference: EXACT.add(gross, off.get(reference, Decimal(0))) for reference, gross in left.items()}


def cut_line(
    line: TargetLine,
    source: str,
    name: str,
    off: Decimal,
    steps: Sequence[Mapping[str, Any]],
    sources: Mapping[str, Any],
    *,
    currency: str,
) -> TargetLine:
    """Give the line that takes an amount off another.

    Args:
        line: what it is off.
        source: id of what takes it off, without a colon.
        name: what the subscriber reads before the line's own name.
        off: above 0, rounded.
        steps: the calculation, which ends at `-off`.
        sources: where the figures of the steps come from.
        currency: of the invoice.
    """
    return TargetLine(
        kind="discount",
        reference=f"{PREFIX}{source}:{line.reference}",
        display_name=f"{name}: {line.display_name}"[:255],
        payment_term=line.payment_term,
        period_start=line.period_start,
        period_end=line.period_end,
        quantity=Decimal(1),
        unit_price=-off,
        gross=-off,
        tax_rate=line.tax_rate,
        price_revision_id=line.price_revision_id,
        provenance=calculation(
            steps,
            {"line": {"type": "line", "ref": {"reference": line.reference}}, **sources},
            -off,
            line,
            kind="discount",
            currency=currency,
        ),
    )


def calculation(
    steps: Sequence[Mapping[str, Any]],
    sources: Mapping[str, Any],
    amount: Decimal,
    line: TargetLine,
    *,
    kind: str,
    currency: str,
) -> dict[str, Any]:
    """Give the provenance of a line that is one amount, not a quantity at a price."""
    first = steps[0]
    value = format_decimal(abs(Decimal(first["out"])))
    return {
        "status": "available",
        "version": 1,
        "currency": currency,
        "period": {"start": format_instant(line.period_start), "end": format_instant(line.period_end)},
        "inputs": {"kind": kind, "amount": {"value": value, "source": first["source"]}},
        "sources": dict(sources),
        "steps": list(steps),
        "notApplied": [],
        "result": {"amount": format_decimal(amount), "quantity": "1", "unitPrice": format_decimal(amount)},
    }
