"""The calculation of a line in words, as people read it."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from apps.invoicing.domain.apart import APART
from apps.kernel.money import EXACT, format_decimal
from apps.rating.grouped import price_of, priced
from apps.rating.lines import ALLOWANCE, PART, REST
from apps.rating.usage import Usage

# What a subtracted amount is, where a line is a share of others.
LESS = {
    "counted": "take off what counts for it",
    "billed": "take off what was billed of it before",
    "cap": "take off what may be billed",
    "cut": "take off what was cut before",
    "still cut": "take off what stays cut",
    "credit notes": "held to what credit notes left of it",
}
OF_QUANTITY = {
    "subtract": "take off waived units",
    "clamp": "hold the quantity to what is agreed",
    "scaleToBound": "scale the part as the whole period is held",
}
OF_ALLOWANCE = "take off what the allowance pays for"
OF_CARRIED = "add what carried overage leaves to be paid when the right ends"
# Amounts that are added, each written as one that is taken off.
ADDED = {
    PART: "add the part",
    REST: "add what rounding left of the part before",
    APART: "add what grants pay, which a line of its own takes off",
}
WORDS = {
    "evaluate": "price the quantity",
    "prorate": "take the part of the period",
    "subtract": "take off what was billed before",
    "replace": "start from the billed amount",
    "setToBound": "cut so that the invoice is not below zero",
    "scale": "take off what is agreed",
    "cap": "hold it to what is left",
    "scaleToBound": "take its share of it",
    "round": "round half-up to the minor unit",
}

# One figure says all of it.
PLAIN_MODEL = "standard"
# More parts of a line than these nobody reads on a page.
SHOWN_PARTS = 50
# The database keeps the names of a description in an order of its own.
ORDER = (
    "rate", "fixed", "min", "max", "packageSize", "freeUnits", "freeEvents", "freeAmount",
    "free", "atRate", "atMinimum", "atMaximum", "givenBack", "quantity", "events", "value", "amount",
)  # fmt: skip


def steps_in_words(provenance: Mapping[str, Any]) -> list[str]:
    """Give the calculation of a line, a sentence a step."""
    return [_step(step) for step in provenance.get("steps", [])]


def _step(step: dict[str, Any]) -> str:
    params = step["params"]
    given = step["in"]
    detail = ""
    if step["on"] == "quantity":
        scale = f"{params['numerator']} / {params['denominator']}" if "numerator" in params else None
        bounds = {
            "units": params.get("units"), "at least": params.get("min"), "at most": params.get("max"), "×": scale,
            "to": params.get("quantity"),
        }  # fmt: skip
        said = ", ".join(f"{name} {value}" for name, value in bounds.items() if value is not None)
        words = OF_ALLOWANCE if step["source"] == ALLOWANCE else OF_QUANTITY[step["op"]]
        if step["source"] == ALLOWANCE and Decimal(params["units"]) < 0:
            return f"{OF_CARRIED}: {format_decimal(-Decimal(params['units']))} → {step['out']}"
        return f"{words}: {said} → {step['out']}"
    if step["op"] == "evaluate":
        detail = f"{params['quantity']} at {_price(given)}"
        if "groups" in given:
            detail = f"{params['quantity']} by {', '.join(given['groupBy'])}: {_groups(given, params['counted'])}"
        elif "counted" in params:
            detail = f"{detail}; {_counted(params['counted'])}"
    elif step["op"] in ("prorate", "scale"):
        detail = f"× {params['numerator']} / {params['denominator']}"
    elif params.get("kind") in ADDED:
        kind, amount = params["kind"], format_decimal(-Decimal(params["amount"]))
        detail = f"{amount}, {params['quantity']} at {_price(params['price'])}" if kind == PART else amount
        return f"{ADDED[kind]}: {detail} → {step['out']}"
    elif step["op"] == "scaleToBound":
        detail = f"{params['weight']} of {params['of']}"
    elif "bound" in params:
        detail = f"{params['bound']}"
    elif "amount" in params:
        detail = f"{params['amount']}"
    words = LESS.get(params.get("kind", ""), WORDS.get(step["op"], step["op"]))
    return f"{words}: {detail} → {step['out']}".replace(":  →", " →")


def _price(described: dict[str, Any]) -> str:
    is_share = "percentage" in described["model"]
    if "bands" in described:
        bands = "; ".join(
            f"{'up to ' + band['upTo'] if band['upTo'] else 'beyond'}: {_rate(band['rate'], is_share)}"
            + (f" and {band['flat']}" if "flat" in band else "")
            for band in described["bands"]
        )
        return f"{words_of(described['model'])} ({bands})"
    if described["model"] == PLAIN_MODEL:
        return str(described["rate"])
    terms = ", ".join(
        f"{words_of(name)} {_rate(value, is_share) if name == 'rate' else value}"
        for name, value in _ordered(described)
        if name != "model" and value not in (None, "0")
    )
    return f"{words_of(described['model'])} ({terms})"


def _ordered(named: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(named.items(), key=lambda item: (ORDER.index(item[0]) if item[0] in ORDER else len(ORDER), item[0]))


def _rate(rate: str, is_share: bool) -> str:
    return f"{format_decimal(EXACT.multiply(Decimal(rate), Decimal(100)))} %" if is_share else rate


def _groups(described: dict[str, Any], counted: dict[str, Any]) -> str:
    """Give what each group came to, such as `model opus: units 250 × 0.02 = 5`."""
    parts = [part for part in priced(price_of(described), Usage(Decimal(0), counted)) if part.amount or part.quantity]
    words = [
        f"{part.label}"
        + (f" {format_decimal(part.quantity)} × {format_decimal(part.unit_price)}" if part.quantity else "")
        + (f" + {format_decimal(part.flat)}" if part.flat and part.quantity else "")
        + f" = {format_decimal(part.amount)}"
        for part in parts[:SHOWN_PARTS]
    ]
    if len(parts) > SHOWN_PARTS:
        words.append(f"and {len(parts) - SHOWN_PARTS} more")
    return "; ".join(words) or "nothing"


def _counted(counted: Any) -> str:
    """Give what a price counted of single events, such as `at rate: events 3, value 550`; nothing of what is none."""
    if isinstance(counted, list):
        return "; ".join(_counted(row) for row in counted)
    if not isinstance(counted, dict):
        return str(counted)
    found = []
    for name, value in _ordered(counted):
        if isinstance(value, dict | list):
            inner = _counted(value)
            found.append(f"{words_of(name)}: {inner}" if inner else "")
        elif value not in (0, "0"):
            found.append(f"{words_of(name)} {value}")
    separator = "; " if any(isinstance(value, dict | list) for value in counted.values()) else ", "
    return separator.join(part for part in found if part)


def words_of(name: str) -> str:
    """Give a name of the wire as words: `freeEvents` becomes `free events`."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).replace("_", " ")
