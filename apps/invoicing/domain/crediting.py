"""What of an issued invoice can be given back, and what giving a part of it back takes along in tax."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from apps.invoicing.domain.cuts import PREFIX, charge_of
from apps.kernel.money import EXACT, allocate, minor_digits, round_money

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class BilledLine:
    """A line of an issued invoice.

    Attributes:
        gross: the rounded amount before tax is added, or with it contained.
    """

    line_id: int
    reference: str
    gross: Decimal
    net: Decimal
    tax_rate: Decimal
    tax: Decimal


@dataclass(frozen=True, slots=True)
class Creditable:
    """A charge of an issued invoice: what it is worth once discounts are off, and what was given back of it.

    The tax is that of the worth, so what is given back has the tax of its rate, whatever the discounts were on.
    """

    line_id: int
    net: Decimal
    tax: Decimal
    credited_net: Decimal = ZERO
    credited_tax: Decimal = ZERO

    @property
    def left_net(self) -> Decimal:
        return EXACT.subtract(self.net, self.credited_net)

    @property
    def left_tax(self) -> Decimal:
        return EXACT.subtract(self.tax, self.credited_tax)

    @property
    def left(self) -> Decimal:
        """What can still be given back, with tax."""
        return EXACT.add(self.left_net, self.left_tax)


@dataclass(frozen=True, slots=True)
class Credit:
    """What is given back of one line."""

    line_id: int
    net: Decimal
    tax: Decimal

    @property
    def total(self) -> Decimal:
        return EXACT.add(self.net, self.tax)


def creditable_lines(lines: Sequence[BilledLine], *, currency: str, is_inclusive: bool) -> list[Creditable]:
    """Give what the charges of an invoice are worth; together they are the invoice, net and tax.

    A discount is off the charge that it names; what is off nothing in particular (a credit, a correction) is shared
    out over the charges of its tax rate, and over all where these do not reach. Each rate's tax then goes to its
    charges in proportion to what is left of them.

    Args:
        lines: of one issued invoice.
        currency: decides the minor unit.
        is_inclusive: the gross amounts contain the tax.

    Returns:
        One for each line above zero, same order; empty where the invoice is not above zero.
    """
    charges = [line for line in lines if line.gross > 0]
    digits = minor_digits(currency)
    worth = {line.line_id: line.gross for line in charges}
    for line in lines:
        if line.gross >= 0:
            continue
        named = charge_of(line.reference) if line.reference.startswith(PREFIX) else None
        own = [one.line_id for one in charges if one.reference == named]
        same_rate = [one.line_id for one in charges if one.tax_rate == line.tax_rate]
        rest = -line.gross
        for group in (own, same_rate, list(worth)):
            rest = _take(worth, group, rest, digits)
        if rest:
            return []
    taxes = _taxes(lines, charges, worth, digits)
    found = []
    for line in charges:
        gross, tax = worth[line.line_id], taxes[line.line_id]
        found.append(Creditable(line.line_id, EXACT.subtract(gross, tax) if is_inclusive else gross, tax))
    return found


def credit_whole(lines: Sequence[Creditable]) -> list[Credit]:
    """Give back everything that is left."""
    return _filled([Credit(line.line_id, line.left_net, line.left_tax) for line in lines])


def credit_net(lines: Sequence[Creditable], amounts: Mapping[int, Decimal], *, currency: str) -> list[Credit]:
    """Give back amounts without tax of single lines, each at most what is left of it.

    The tax given back of a line by now is always the rounded part of its tax that its amount by now asks for, so the
    last part of a line takes what is left of the tax, however it was parted.
    """
    found = []
    for line in lines:
        amount = amounts.get(line.line_id, ZERO)
        if not amount:
            continue
        net = EXACT.add(line.credited_net, amount)
        tax = line.tax if net == line.net else _part(line, net, line.net, currency)
        low, high = sorted((line.credited_tax, line.tax))
        found.append(
            Credit(line.line_id, amount, EXACT.subtract(min(max(tax, low), high), line.credited_tax)),
        )
    return _filled(found)


def credit_amount(lines: Sequence[Creditable], amount: Decimal, *, currency: str) -> list[Credit]:
    """Give back an amount with tax, at most what is left, shared out over the lines by what is left of them."""
    open_lines = [line for line in lines if line.left > 0]
    shares = allocate(amount, [line.left for line in open_lines], digits=minor_digits(currency))
    found = []
    for line, share in zip(open_lines, shares, strict=True):
        whole = EXACT.add(line.net, line.tax)
        gross = EXACT.add(EXACT.add(line.credited_net, line.credited_tax), share)
        tax = line.tax if gross == whole else _part(line, gross, whole, currency)
        # Neither net nor tax may go back behind what was given, or beyond what there is.
        low, high = sorted((line.credited_tax, line.tax))
        low = max(low, EXACT.subtract(gross, line.net))
        high = min(high, EXACT.subtract(gross, line.credited_net))
        given = EXACT.subtract(min(max(tax, low), high), line.credited_tax)
        found.append(Credit(line.line_id, EXACT.subtract(share, given), given))
    return _filled(found)


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where the total of a credit note goes; the three sum to it."""

    due: Decimal
    balance: Decimal
    refund: Decimal


def destinations_of(total: Decimal, *, due: Decimal, refundable: Decimal) -> Destinations:
    """Say where a credit goes: off what is due first, then back as money as far as wanted, the rest to the balance.

    Args:
        total: of the credit note.
        due: what is open on the invoice.
        refundable: how much may be paid back; 0 where it should stay with the customer's balance.
    """
    off_due = min(total, max(due, ZERO))
    rest = EXACT.subtract(total, off_due)
    refund = min(rest, max(refundable, ZERO))
    return Destinations(off_due, EXACT.subtract(rest, refund), refund)


def use_oldest_first(credits: Sequence[Decimal], due: Decimal) -> list[Decimal]:
    """Give how much of each credit, the oldest first, pays an amount that is due."""
    used = []
    for left in credits:
        part = min(left, max(due, ZERO))
        due = EXACT.subtract(due, part)
        used.append(part)
    return used


def _take(worth: dict[int, Decimal], keys: Sequence[int], amount: Decimal, digits: int) -> Decimal:
    """Take an amount off some charges by what they are worth; gives what they could not bear."""
    room = sum((worth[key] for key in keys), ZERO)
    part = min(amount, room)
    if part > 0:
        for key, share in zip(keys, allocate(part, [worth[key] for key in keys], digits=digits), strict=True):
            worth[key] = EXACT.subtract(worth[key], share)
    return EXACT.subtract(amount, part)


def _taxes(
    lines: Sequence[BilledLine], charges: Sequence[BilledLine], worth: Mapping[int, Decimal], digits: int
) -> dict[int, Decimal]:
    """Share each rate's tax out over its charges, and that of a rate without charges over all."""
    found = dict.fromkeys(worth, ZERO)
    for rate in dict.fromkeys(line.tax_rate for line in lines):
        tax = sum((line.tax for line in lines if line.tax_rate == rate), ZERO)
        keys = [line.line_id for line in charges if line.tax_rate == rate] or list(worth)
        if not tax or not keys:
            continue
        for key, share in zip(keys, allocate(tax, [worth[key] for key in keys], digits=digits), strict=True):
            found[key] = EXACT.add(found[key], share)
    return found


def _part(line: Creditable, amount: Decimal, whole: Decimal, currency: str) -> Decimal:
    return round_money(EXACT.divide(EXACT.multiply(line.tax, amount), whole), currency)


def _filled(credits: Sequence[Credit]) -> list[Credit]:
    return [credit for credit in credits if credit.net or credit.tax]
