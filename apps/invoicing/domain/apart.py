"""What units pay of usage as lines of their own: the usage in full, and what is taken off it.

A price may ask for that; it changes how a bill reads, and nothing else. It comes after everything that changes
amounts, so a bill with it and one without it agree to the minor unit whatever else is on them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
OFF_USAGE = f"{PREFIX}{GRANTS}:"
# Marks the step by which a usage line shows what another line takes off it.
APART = "apart"
PAID = "Paid by grants"
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Shown:
    """What lines of earlier bills took off the usage of a charge: units, and what they came to, rounded, above 0."""

    units: Decimal = ZERO
    amount: Decimal = ZERO


NOTHING = Shown()


def grants_apart(
    lines: Sequence[TargetLine], shown: Mapping[int, Callable[[TargetLine], Shown]], *, currency: str
) -> list[TargetLine]:
    """Give the lines of a bill with what units paid of usage on lines of their own, each after its usage.

    A line that bills the rest of a charge (what was billed early, late usage) takes off what the units come to now
    less what earlier bills took off, so that all bills of the charge together take off what one would have. One that
    gives back stays as it is: what is still to be given back is read from such a line.

    Args:
        lines: of one bill, with all that is on and off them, untaxed.
        shown: by the key of each price revision whose price asks for it, what earlier bills took off a line's charge.
        currency: decides the minor unit.
    """
    found: list[TargetLine] = []
    for line in lines:
        before_of = None if line.price_revision_id is None else shown.get(line.price_revision_id)
        found += [line] if before_of is None or line.kind != "metered" else _parted(line, before_of, currency)
    return found


def is_rest(line: TargetLine) -> bool:
    """Whether a line bills what earlier bills left of its charge."""
    return line.is_late or EARLY in line.provenance.get("sources", {})


def _parted(line: TargetLine, before_of: Callable[[TargetLine], Shown], currency: str) -> list[TargetLine]:
    steps = line.provenance.get("steps", [])
    units = sum((Decimal(step["params"]["units"]) for step in steps if step["source"] == ALLOWANCE), ZERO)
    priced: dict[str, Any] = next((step["in"] for step in steps if step["op"] == "evaluate"), {})
    if not units or priced.get("model") != "standard" or (is_rest(line) and line.gross <= 0):
        return [line]
    before = before_of(line) if is_rest(line) else NOTHING
    rate = Decimal(priced["rate"])
    off = EXACT.subtract(round_money(EXACT.multiply(units, rate), currency), before.amount)
    if off <= 0 or units <= before.units:
        return [line]
    more = EXACT.subtract(units, before.units)
    return [_in_full(line, more, rate, off), _taken_off(line, units, rate, off, before, currency)]


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


def _taken_off(
    line: TargetLine, units: Decimal, rate: Decimal, off: Decimal, before: Shown, currency: str
) -> TargetLine:
    """Give the line that takes off what all units of the charge come to, less what earlier bills took off."""
    more = EXACT.subtract(units, before.units)
    described = {"model": "standard", "rate": format_decimal(-rate)}
    exact = EXACT.multiply(units, -rate)
    whole = EXACT.add(off, before.amount)
    digits = {"digits": minor_digits(currency), "mode": ROUNDING}
    steps = [
        step_of("evaluate", "price", described, exact, {"quantity": format_decimal(units)}, "line"),
        step_of("round", "amount", format_decimal(exact), -whole, digits, "currency"),
    ]
    if before != NOTHING:
        given = {"amount": format_decimal(-before.amount), "quantity": format_decimal(before.units)}
        steps.append(step_of("subtract", "amount", format_decimal(-whole), -off, given, "earlierInvoice"))
    return TargetLine(
        kind="discount",
        reference=f"{OFF_USAGE}{line.reference}",
        display_name=f"{PAID}: {line.display_name}"[:255],
        # Usage is never due before its service, so what is off it is not either.
        payment_term="in_arrears",
        period_start=line.period_start,
        period_end=line.period_end,
        quantity=more,
        unit_price=-rate,
        gross=-off,
        tax_rate=line.tax_rate,
        price_revision_id=line.price_revision_id,
        metric_id=line.metric_id,
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
            "sources": {
                "line": {"type": "line", "ref": {"reference": line.reference}},
                GRANTS: _grants(),
                **({"earlierInvoice": {"type": "invoice"}} if before != NOTHING else {}),
            },
            "steps": steps,
            "notApplied": [],
            "result": {
                "amount": format_decimal(-off), "quantity": format_decimal(more), "unitPrice": format_decimal(-rate),
            },
        },
    )  # fmt: skip


def _grants() -> dict[str, str]:
    return {"type": "entitlement"}
