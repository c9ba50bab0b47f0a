"""What a stored calculation says: the amount once more, what it priced, and what it left to later ones."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from apps.kernel.money import EXACT, format_decimal, round_to
from apps.rating.adjustments import part_of
from apps.rating.grouped import price_of, priced
from apps.rating.lines import ALLOWANCE, CARRIED, SUM_PLACES, Billed
from apps.rating.price_models import amount_of
from apps.rating.steps import step_of
from apps.rating.usage import Usage


def recompute(provenance: Mapping[str, Any]) -> Decimal:
    """Compute a line's amount again from its provenance alone.

    Raises:
        ValueError: a step is of a kind that is not known.
    """
    amount = Decimal(0)
    for step in provenance["steps"]:
        params = step["params"]
        if step.get("on") == "quantity":
            # What it came to is the quantity that is priced.
            continue
        match step["op"]:
            case "evaluate":
                usage = Usage(Decimal(params["quantity"]), params.get("counted", {}))
                amount = amount_of(priced(price_of(step["in"]), usage))
            case "prorate":
                share = Decimal(params["numerator"])
                amount = EXACT.divide(EXACT.multiply(amount, share), Decimal(params["denominator"]))
            case "scale":
                amount = part_of(amount, Fraction(int(params["numerator"]), int(params["denominator"])))
            case "subtract":
                amount = EXACT.subtract(amount, Decimal(params["amount"]))
            case "replace":
                amount = Decimal(params["amount"])
            case "setToBound":
                amount = Decimal(params["bound"])
            case "cap":
                amount = min(amount, Decimal(params["bound"]))
            case "scaleToBound":
                # A share of a rounded amount, which sums to it with the others' shares.
                amount = Decimal(params["amount"])
            case "round":
                amount = round_to(round_to(amount, SUM_PLACES), int(params["digits"]))
            case other:
                raise ValueError(f"unknown step of a calculation: {other}")
    return amount


def bound_to_zero(provenance: Mapping[str, Any], bound: Decimal) -> dict[str, Any]:
    """Give the provenance of a rebate that was cut so that its invoice does not fall below zero."""
    before = provenance["result"]["amount"]
    step = step_of("setToBound", "amount", before, bound, {"bound": format_decimal(bound)}, "invoiceTotal")
    return {
        **provenance,
        "steps": [*provenance["steps"], step],
        "result": {**provenance["result"], "amount": format_decimal(bound)},
    }


def evaluated(provenance: Mapping[str, Any]) -> Billed:
    """Give the usage of a line's whole period as it was when the line was made, and what it came to.

    A correction's line prices its whole period anew, so the latest says what all of them together billed.
    """
    step = next(step for step in reversed(provenance["steps"]) if step["op"] == "evaluate")
    params = step["params"]
    covered = sum(
        (Decimal(step["params"]["units"]) for step in provenance["steps"] if step["source"] == ALLOWANCE), Decimal(0)
    )
    usage = Usage(Decimal(provenance["inputs"]["quantity"]["value"]), params.get("counted", {}), covered)
    return Billed(usage, Decimal(params["quantity"]), Decimal(step["out"]))


def left_over(provenance: Mapping[str, Any]) -> Decimal:
    """Give what a correction's line leaves for a later one: 0 or less than it took over, in major units.

    The sum over a charge's corrections is what is still to be given back. A rebate that was cut leaves nothing: it
    gives way for good.
    """
    left = Decimal(0)
    for step in provenance["steps"]:
        match step["op"], step["params"]:
            case "evaluate", _ if Decimal(step["out"]) < 0:
                return Decimal(0)
            case "subtract", {"kind": kind, "amount": amount} if kind == CARRIED:
                left = EXACT.add(left, Decimal(amount))
            case "setToBound", _:
                left = EXACT.add(left, EXACT.subtract(Decimal(step["in"]), Decimal(step["out"])))
            case _:
                pass
    return left
