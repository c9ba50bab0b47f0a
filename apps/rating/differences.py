"""What is still to be billed of a charge, or to be given back, when part of it was billed before."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from apps.kernel.money import EXACT, format_decimal, minor_digits, round_money
from apps.rating.adjustments import part_of
from apps.rating.lines import RatedLine
from apps.rating.steps import step_of

ZERO = Decimal(0)


@dataclass(slots=True)
class BilledSoFar:
    """What earlier lines billed for a charge, sums of rounded lines in major units.

    Attributes:
        charged: its lines, before percentages off them; 0 or more.
        off: the lines of these percentages; 0 or less.
        credited: what was given back of it, percentages off already; 0 or less.
        noted: what credit notes gave back of it beside; 0 or less. It is not asked for again, and not given twice.
    """

    charged: Decimal = ZERO
    off: Decimal = ZERO
    credited: Decimal = ZERO
    noted: Decimal = ZERO

    @property
    def net(self) -> Decimal:
        """What the subscriber paid for it."""
        return EXACT.add(EXACT.add(self.charged, self.off), self.credited)

    @property
    def kept(self) -> Fraction:
        """The part of the charge that percentages left."""
        return Fraction(EXACT.add(self.charged, self.off)) / Fraction(self.charged) if self.charged else Fraction(1)


def less_billed(rated: RatedLine, billed: BilledSoFar, *, currency: str) -> tuple[Decimal, dict[str, Any]]:
    """Give what a rated charge adds to what earlier lines billed for it, and how it was calculated.

    What is added is without percentages off it: those that hold by now get lines of their own. What is given back is
    what was paid: the percentages that were off the charge are off the credit.

    Args:
        rated: the charge as it should be by now, rounded.
        billed: what earlier lines billed for it.
        currency: decides the minor unit.

    Returns:
        The amount, major units, negative where too much was billed but never more than the subscriber still bears
        of it; the provenance.
    """
    kept = billed.kept
    before = billed.charged
    if billed.credited and kept:
        before = EXACT.add(before, round_money(part_of(billed.credited, 1 / kept), currency))
    after = rated.subtotal
    steps = list(rated.provenance["steps"])
    if EXACT.subtract(after, before) < 0:
        before = billed.net
        if kept != 1:
            exact = part_of(after, kept)
            share = {"numerator": str(kept.numerator), "denominator": str(kept.denominator)}
            steps.append(step_of("prorate", "amount", format_decimal(after), exact, share, "earlierInvoice"))
            after = round_money(exact, currency)
            rounding = {"digits": minor_digits(currency), "mode": "HALF_UP"}
            steps.append(step_of("round", "amount", format_decimal(exact), after, rounding, "currency"))
    amount = EXACT.subtract(after, before)
    if before:
        less = {"amount": format_decimal(before)}
        steps.append(step_of("subtract", "amount", format_decimal(after), amount, less, "earlierInvoice"))
    least = min(ZERO, -EXACT.add(billed.net, billed.noted))
    if amount < least:
        bound = {"bound": format_decimal(least), "kind": "credit notes"}
        steps.append(step_of("setToBound", "amount", format_decimal(amount), least, bound, "creditNotes"))
        amount = least
    inputs = {**rated.provenance.get("inputs", {}), "kind": "adjustment"}
    # Its line is the one amount, whatever quantity the charge is of.
    result = {"amount": format_decimal(amount), "quantity": "1", "unitPrice": format_decimal(amount)}
    return amount, {**rated.provenance, "inputs": inputs, "steps": steps, "result": result}
