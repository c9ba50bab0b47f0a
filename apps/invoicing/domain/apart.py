"""What units pay of usage as lines of their own: the usage in full, and what is taken off it.

A price may ask for that; it changes how a bill reads, and nothing else. It comes after everything that changes
amounts, so a bill with it and one without it agree to the minor unit whatever else is on them.
"""

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from apps.invoicing.domain.cuts import PREFIX
from apps.invoicing.domain.early import SOURCE as EARLY
from apps.invoicing.domain.targets import TargetLine
from apps.kernel.money import EXACT, format_decimal, minor_digits, round_money
from apps.rating.lines import ALLOWANCE, ROUNDING
from apps.rating.steps import step_of

# What takes it off, as the references of such lines name it.
GRANTS = "grants"
# Marks the step by which a usage line shows what another line takes off it.
APART = "apart"
PAID = "Paid by grants"
ZERO = Decimal(0)


def grants_apart(lines: Sequence[TargetLine], revision_ids: Collection[int], *, currency: str) -> list[TargetLine]:
    """Give the lines of a bill with what units paid of usage on lines of their own, each after its usage.

    A correction is of a difference, and what was billed early is shown with the units off already: these stay as
    they are.

    Args:
        lines: of one bill, with all that is on and off them, untaxed.
        revision_ids: keys of the price revisions whose prices ask for it.
        currency: decides the minor unit.
    """
    found: list[TargetLine] = []
    for line in lines:
        found += _parted(line, currency) if line.price_revision_id in revision_ids else [line]
    return found


def _parted(line: TargetLine, currency: str) -> list[TargetLine]:
    steps = line.provenance.get("steps", [])
    units = sum((Decimal(step["params"]["units"]) for step in steps if step["source"] == ALLOWANCE), ZERO)
    priced: dict[str, Any] = next((step["in"] for step in steps if step["op"] == "evaluate"), {})
    if line.kind != "metered" or line.is_late or EARLY in line.provenance["sources"] or not units:
        return [line]
    if priced.get("model") != "standard":
        return [line]
    rate = Decimal(priced["rate"])
    off = round_money(EXACT.multiply(units, rate), currency)
    if off <= 0:
        return [line]
    return [_in_full(line, units, rate, off), _taken_off(line, units, rate, off, currency)]


def _in_full(line: TargetLine, units: Decimal, rate: Decimal, off: Decimal) -> TargetLine:
    gross, quantity = EXACT.add(line.gross, off), EXACT.add(line.quantity, units)
    given = {"amount": format_decimal(-off), "quantity": format_decimal(-units), "kind": APART}
    step = step_of("subtract", "amount", line.provenance["result"]["amount"], gross, given, GRANTS)
    result = {
        "amount": format_decimal(gross), "quantity": format_decimal(quantity), "unitPrice": format_decimal(rate),
    }  # fmt: skip
    return replace(
        line,
        gross=gross,
        quantity=quantity,
        unit_price=rate,
        provenance={
            **line.provenance,
            "sources": {**line.provenance["sources"], GRANTS: _grants()},
            "steps": [*line.provenance["steps"], step],
            "result": result,
        },
    )


def _taken_off(line: TargetLine, units: Decimal, rate: Decimal, off: Decimal, currency: str) -> TargetLine:
    described = {"model": "standard", "rate": format_decimal(-rate)}
    exact = EXACT.multiply(units, -rate)
    digits = {"digits": minor_digits(currency), "mode": ROUNDING}
    return TargetLine(
        kind="discount",
        reference=f"{PREFIX}{GRANTS}:{line.reference}",
        display_name=f"{PAID}: {line.display_name}"[:255],
        # Usage is never due before its service, so what is off it is not either.
        payment_term="in_arrears",
        period_start=line.period_start,
        period_end=line.period_end,
        quantity=units,
        unit_price=-rate,
        gross=-off,
        tax_rate=line.tax_rate,
        price_revision_id=line.price_revision_id,
        provenance={
            "status": "available",
            "version": 1,
            "currency": currency,
            "period": line.provenance["period"],
            "calculatedAt": line.provenance["calculatedAt"],
            "inputs": {
                "kind": "discount",
                "quantity": {"value": format_decimal(units), "source": GRANTS},
                "price": {"fn": described, "source": "line"},
            },
            "sources": {"line": {"type": "line", "ref": {"reference": line.reference}}, GRANTS: _grants()},
            "steps": [
                step_of("evaluate", "price", described, exact, {"quantity": format_decimal(units)}, "line"),
                step_of("round", "amount", format_decimal(exact), -off, digits, "currency"),
            ],
            "notApplied": [],
            "result": {
                "amount": format_decimal(-off), "quantity": format_decimal(units), "unitPrice": format_decimal(-rate),
            },
        },
    )  # fmt: skip


def _grants() -> dict[str, str]:
    return {"type": "entitlement"}
