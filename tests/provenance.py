"""Works issued invoices out again from what their lines say of how they were calculated, and from nothing else.

None of it is the product's arithmetic: fractions instead of decimals, and each rule written down once more, the slow
and obvious way.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Json = Mapping[str, Any]
DIGITS = {"JPY": 0, "KRW": 0, "CLP": 0, "KWD": 3, "BHD": 3, "TND": 3}
ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(frozen=True, slots=True)
class Part:
    """Units at a price, and an amount beside them."""

    quantity: Fraction
    unit_price: Fraction
    flat: Fraction = ZERO

    @property
    def amount(self) -> Fraction:
        return self.quantity * self.unit_price + self.flat


@dataclass(slots=True)
class Recomputed:
    """A line as its provenance gives it.

    Attributes:
        gross: as the price states it: without tax, or with it.
        discount: what other lines of the invoice take off it, 0 or less.
        off: the line that it takes something off, if it does.
    """

    subscription: str
    reference: str
    quantity: Fraction
    unit_price: Fraction
    gross: Fraction
    off: str | None = None
    discount: Fraction = ZERO
    net: Fraction = ZERO
    tax: Fraction = ZERO
    taxes: list[Fraction] = field(default_factory=list)


def recompute_invoice(provenances: Sequence[Json]) -> list[Recomputed]:
    """Work out all lines of a document; n provenances in, n lines out, same order."""
    lines = [recompute_line(found) for found in provenances]
    by_reference = {(line.subscription, line.reference): line for line in lines}
    for line in lines:
        if line.off is not None:
            by_reference[line.subscription, line.off].discount += line.gross
    _check_shares(provenances)
    for subscription in {line.subscription for line in lines}:
        own = [place for place, line in enumerate(lines) if line.subscription == subscription]
        _tax([lines[place] for place in own], [provenances[place] for place in own])
    return lines


def recompute_line(provenance: Json) -> Recomputed:
    """Work out a line but for its tax, and see that every step on the way gave what it says it gave."""
    calculation = _Calculation(provenance)
    for step in provenance["steps"]:
        calculation.take(step)
    return Recomputed(
        subscription=provenance["subscriptionId"],
        reference=provenance["reference"],
        quantity=calculation.line_quantity,
        unit_price=calculation.line_unit_price,
        gross=calculation.amount,
        off=_off(provenance),
    )


class _Calculation:
    """The values that a line's steps change, one after the other."""

    def __init__(self, provenance: Json) -> None:
        inputs = provenance["inputs"]
        self.kind = inputs["kind"]
        self.is_one_amount = "quantity" not in inputs or self.kind == "adjustment"
        self.quantity = _read(inputs["quantity"]["value"]) if "quantity" in inputs else ONE
        self.billed = self.quantity
        self.amount = self.exact = ZERO
        self.parts: list[Part] = []
        # What early bills billed, each with what that left.
        self.early: list[tuple[Json, Fraction]] = []

    def take(self, step: Json) -> None:
        params = step["params"]
        if step["on"] == "quantity":
            assert _read(step["in"]) == self.quantity, step
            self.quantity = _changed_quantity(step["op"], self.quantity, params)
            _agree(self.quantity, step)
            return
        if step["op"] == "evaluate":
            # Nothing may happen to the quantity between its last step and the price.
            assert _read(params["quantity"]) == self.quantity, step
            self.parts = _priced(step["in"], self.quantity, params.get("counted") or {})
            self.amount = self.exact = sum((part.amount for part in self.parts), ZERO)
            self.billed = self.quantity
        else:
            assert step["op"] == "replace" or _near(_read(step["in"]), self.amount), step
            self.amount = _changed_amount(step, self.amount)
            if step["source"] == "earlyBills":
                self.early.append((params, self.amount))
            elif step["op"] == "subtract" and "quantity" in params and params.get("kind") != "part":
                self.billed -= _read(params["quantity"])
            if params.get("kind") == "apart":
                # The whole quantity stands there at the price of the unit.
                assert step["op"] == "subtract"
                self.parts = [Part(self.billed, self.parts[0].unit_price)]
            if (
                step["op"] not in ("round", "setToBound")
                and step["source"] != "earlyBills"
                and self.kind == "metered"
            ):
                self.exact = self.amount
        _agree(self.amount, step)

    @property
    def line_quantity(self) -> Fraction:
        if self.is_one_amount:
            return ONE
        if self.kind != "metered":
            return self.billed
        return self.billed - sum((_read(params["quantity"]) for params, _ in self.early), ZERO)

    @property
    def line_unit_price(self) -> Fraction:
        if self.is_one_amount:
            return self.amount
        price = _average(self.parts, self.exact, self.billed)
        quantity = self.line_quantity
        for params, left in self.early:
            if self.kind != "metered" or price != _read(params["unitPrice"]):
                price = _round(left / quantity, 15) if quantity else ZERO
        return price


def _changed_quantity(op: str, quantity: Fraction, params: Json) -> Fraction:
    match op:
        case "subtract":
            left = quantity - _read(params["units"])
            return max(left, ZERO) if "adjustmentIds" in params else left
        case "clamp":
            low, high = params["min"], params["max"]
            quantity = quantity if low is None else max(quantity, _read(low))
            return quantity if high is None else min(quantity, _read(high))
        case "scaleToBound" if "quantity" in params:
            return _read(params["quantity"])
        case "scaleToBound":
            return _round(quantity * Fraction(int(params["numerator"]), int(params["denominator"])), 9)
    raise AssertionError(f"what does {op} do to a quantity?")


def _changed_amount(step: Json, amount: Fraction) -> Fraction:
    params = step["params"]
    match step["op"]:
        case "prorate":
            return amount * Fraction(int(params["numerator"]), int(params["denominator"]))
        case "scale":
            for term in params["terms"]:
                amount *= 1 - _read(term["by"]) * Fraction(term["share"])
            return amount
        case "subtract" if params.get("kind") == "part":
            share = Fraction(int(params["numerator"]), int(params["denominator"]))
            other = sum((part.amount for part in _priced(params["price"], _read(params["quantity"]), {})), ZERO)
            assert _near(other * share, -_read(params["amount"])), step
            return amount + other * share
        case "subtract":
            return amount - _read(params["amount"])
        case "replace":
            return _read(params["amount"])
        case "setToBound":
            return _read(params["bound"])
        case "cap":
            return min(amount, _read(params["bound"]))
        case "scaleToBound":
            return _share(amount, params)
        case "round":
            assert params["mode"] == "HALF_UP"
            return _round(_round(amount, 45), int(params["digits"]))
    raise AssertionError(f"what does {step['op']} do to an amount?")


def _share(whole: Fraction, params: Json) -> Fraction:
    """Give a line's share of an amount that several share, with the unit that rounding gave it beside."""
    unit = Fraction(1, 10 ** int(params["digits"]))
    share = math.floor(whole / unit * _read(params["weight"]) / _read(params["of"])) * unit
    share += int(params["leftover"]) * unit
    return -share if params["isOff"] else share


def _check_shares(provenances: Iterable[Json]) -> None:
    """See that what several lines share sums to it, and that those got the last units that missed most."""
    shared: dict[tuple[Any, ...], list[tuple[Json, Fraction]]] = defaultdict(list)
    for provenance in provenances:
        step = next(
            (one for one in provenance["steps"] if one["op"] == "scaleToBound" and one["on"] == "amount"), None
        )
        if step is None:
            continue
        source = str(provenance["sources"].get("coupon") or provenance["sources"].get("spend"))
        key = (provenance["subscriptionId"], source, step["in"], step["params"]["of"], step["params"]["isOff"])
        shared[key].append((step["params"], _read(step["in"])))
    for rows in shared.values():
        params, whole = rows[0]
        assert sum(abs(_read(row["amount"])) for row, _ in rows) == whole, rows
        unit = Fraction(1, 10 ** int(params["digits"]))
        missed: dict[int, list[Fraction]] = {0: [], 1: []}
        for row, _ in rows:
            exact = whole / unit * _read(row["weight"]) / _read(row["of"])
            missed[int(row["leftover"])].append(exact - math.floor(exact))
        assert not (missed[0] and missed[1]) or max(missed[0]) <= min(missed[1]), rows


def _priced(price: Json, quantity: Fraction, counted: Json) -> list[Part]:
    if "groups" in price and counted:
        return [part for row in counted["groups"] for part in _priced_group(price, row)]
    model = price["model"]
    if model in LOOKING_AT_EVENTS:
        return LOOKING_AT_EVENTS[model](price, counted or _single(model, price, quantity))
    return BY_QUANTITY[model](price, quantity)


def _priced_group(price: Json, row: Json) -> list[Part]:
    if "amount" in row:
        return [Part(ZERO, ZERO, _read(row["amount"]))]
    number = row["price"]
    inner = {k: v for k, v in price.items() if k != "groups"} if number is None else price["groups"][number]["price"]
    free = _read(row.get("free", "0"))
    paid = _read(row["quantity"]) - free
    found = [Part(free, ZERO)] if free else []
    if free and not paid and number is not None:
        return found
    return found + _priced(inner, paid, row.get("counted") or {})


def _standard(price: Json, quantity: Fraction) -> list[Part]:
    return [Part(quantity, _read(price["rate"]))]


def _package(price: Json, quantity: Fraction) -> list[Part]:
    paid = max(quantity - _read(price["freeUnits"]), ZERO)
    return [Part(Fraction(math.ceil(paid / _read(price["packageSize"]))), _read(price["rate"]))]


def _graduated(price: Json, quantity: Fraction) -> list[Part]:
    found, floor = [], ZERO
    for number, band in enumerate(price["bands"]):
        if number and quantity <= floor:
            break
        top = None if band["upTo"] is None else _read(band["upTo"])
        reached = max(quantity, ZERO) if top is None else min(max(quantity, ZERO), top)
        found.append(Part(reached - floor, _read(band["rate"]), _read(band.get("flat", "0"))))
        floor = reached if top is None else top
    return found


def _volume(price: Json, quantity: Fraction) -> list[Part]:
    if quantity <= 0:
        return []
    band = next(row for row in price["bands"] if row["upTo"] is None or quantity <= _read(row["upTo"]))
    return [Part(quantity, _read(band["rate"]), _read(band.get("flat", "0")))]


def _percentage(price: Json, counted: Json) -> list[Part]:
    found, rate = [], _read(price["rate"])
    paid = counted["atRate"]
    if paid["events"]:
        found.append(Part(_read(paid["value"]), rate, _read(price["fixed"]) * paid["events"]))
    for name, bound in (("atMinimum", "min"), ("atMaximum", "max")):
        if counted[name]["events"]:
            found.append(Part(Fraction(counted[name]["events"]), _read(price[bound])))
    back = _read(counted["givenBack"]["value"])
    if back:
        found.append(Part(back, rate))
        below = sum((part.amount for part in found), ZERO)
        if below < 0:
            found.append(Part(ZERO, ZERO, -below))
    return found


def _dynamic(price: Json, counted: Json) -> list[Part]:
    if "rates" not in counted:
        return [Part(ZERO, ZERO, _read(counted["amount"]))]
    rows = [Part(_read(row["quantity"]), _read(row["rate"])) for row in counted["rates"]]
    assert all(_read(price["min"]) <= row.unit_price <= _read(price["max"]) for row in rows)
    return rows


def _single(model: str, price: Json, quantity: Fraction) -> Json:
    """Give what is counted of a quantity that no event came for: one of nothing, or one without a price."""
    text = str(float(quantity)) if quantity.denominator != 1 else str(quantity.numerator)
    if model == "dynamic":
        return {"rates": [{"rate": price["min"], "quantity": text}]}
    assert quantity == 0, "a price that looks at events is given them"
    is_free = (price["freeEvents"] is None or price["freeEvents"] > 0) and (
        price["freeAmount"] is None or _read(price["freeAmount"]) > 0
    )
    is_free = is_free and (price["freeEvents"] is not None or price["freeAmount"] is not None)
    none = {"events": 0, "value": "0"}
    place = "free" if is_free else "atRate"
    charge = _read(price["fixed"])
    if not is_free and price["min"] is not None and charge < _read(price["min"]):
        place = "atMinimum"
    elif not is_free and price["max"] is not None and charge > _read(price["max"]):
        place = "atMaximum"
    found: dict[str, Any] = dict.fromkeys(("free", "atRate", "atMinimum", "atMaximum", "givenBack"), none)
    return {**found, place: {"events": 1, "value": "0"}}


BY_QUANTITY: dict[str, Callable[[Json, Fraction], list[Part]]] = {
    "standard": _standard,
    "package": _package,
    "graduated": _graduated,
    "graduated_percentage": _graduated,
    "volume": _volume,
}
LOOKING_AT_EVENTS: dict[str, Callable[[Json, Json], list[Part]]] = {"percentage": _percentage, "dynamic": _dynamic}


def _average(parts: Sequence[Part], amount: Fraction, quantity: Fraction) -> Fraction:
    if len(parts) == 1 and parts[0].quantity == quantity and not parts[0].flat:
        return parts[0].unit_price
    if quantity == 0:
        return parts[0].unit_price if len(parts) == 1 else ZERO
    return _round(amount / quantity, 15)


def _tax(lines: Sequence[Recomputed], provenances: Sequence[Json]) -> None:
    """Tax the lines of one bill: each tax once, on the sum of those that have it, and shared out to them."""
    behaviors = {found["tax"]["behavior"] for found in provenances}
    assert len(behaviors) == 1, behaviors
    is_inclusive = behaviors == {"inclusive"}
    digits = DIGITS.get(provenances[0]["currency"], 2)
    held: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    for index, found in enumerate(provenances):
        own = [(row["jurisdiction"], row["name"], row["percent"]) for row in found["tax"]["taxes"]]
        lines[index].taxes = [ZERO] * len(own)
        for place, tax in enumerate(own):
            held[(place, tax, tuple(own)) if is_inclusive else tax].append((index, place))
    for places in held.values():
        index, place = places[0]
        percents = [_read(row["percent"]) for row in provenances[index]["tax"]["taxes"]]
        base = sum((lines[index].gross for index, _ in places), ZERO)
        if is_inclusive:
            contained = _round(base * sum(percents) / (100 + sum(percents)), digits) if sum(percents) else ZERO
            tax = _split(contained, percents, digits)[place] if len(percents) > 1 else contained
        else:
            tax = _round(base * percents[place] / 100, digits)
        # Where signs are mixed, the lines of the tax's own sign share it.
        weights = [
            abs(lines[index].gross) if (lines[index].gross > 0) == (tax > 0) or len(places) == 1 else ZERO
            for index, _ in places
        ]
        for (line, at), share in zip(
            places, _split(tax, weights, digits) if tax else [ZERO] * len(places), strict=True
        ):
            lines[line].taxes[at] = share
    for line in lines:
        line.tax = sum(line.taxes, ZERO)
        line.net = line.gross - line.tax if is_inclusive else line.gross


def _split(whole: Fraction, weights: Sequence[Fraction], digits: int) -> list[Fraction]:
    """Split an amount; whoever misses most of a unit gets one that rounding left, the earlier first."""
    if not sum(weights):
        return [whole, *[ZERO] * (len(weights) - 1)]
    units = abs(whole) * 10**digits
    exact = [units * weight / sum(weights) for weight in weights]
    parts = [math.floor(one) for one in exact]
    order = sorted(range(len(parts)), key=lambda place: (parts[place] - exact[place], place))
    for place in order[: int(units) - sum(parts)]:
        parts[place] += 1
    sign = -1 if whole < 0 else 1
    return [sign * Fraction(part, 10**digits) for part in parts]


def _off(provenance: Json) -> str | None:
    if provenance["inputs"]["kind"] != "discount" or "line" not in provenance["sources"]:
        return None
    return str(provenance["sources"]["line"]["ref"]["reference"])


def _agree(value: Fraction, step: Json) -> None:
    assert _near(value, _read(step["out"])), (step, value)


def _near(one: Fraction, other: Fraction) -> bool:
    """Whether two are the same: thirds are written down with eighty digits."""
    return abs(one - other) < Fraction(1, 10**40)


def _read(value: Any) -> Fraction:
    return Fraction(str(value))


def _round(value: Fraction, digits: int) -> Fraction:
    """Round half away from zero."""
    units = math.floor(abs(value) * 10**digits + Fraction(1, 2))
    return Fraction(units if value >= 0 else -units, 10**digits)
