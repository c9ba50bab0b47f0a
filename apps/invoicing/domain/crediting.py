"""What of an issued invoice can be given back, and what giving a part of it back takes along in tax."""

from collections.abc import Iterator, Mapping, Sequence
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
        taxes: the tax by rate, where it has several; else empty.
        treatment: key of what was decided about its tax; lines of one share its taxes.
        member: key of the bill that it is of, where a document has several; references are of their bill alone.
    """

    line_id: int
    reference: str
    gross: Decimal
    net: Decimal
    tax_rate: Decimal
    tax: Decimal
    taxes: tuple[Decimal, ...] = ()
    treatment: int | None = None
    member: int | None = None

    @property
    def group(self) -> tuple[Decimal, int | None]:
        """Tells which lines are taxed alike."""
        return self.tax_rate, self.treatment

    @property
    def parts(self) -> tuple[Decimal, ...]:
        return self.taxes or (self.tax,)


@dataclass(frozen=True, slots=True)
class Creditable:
    """A charge of an issued invoice: what it is worth once discounts are off, and what was given back of it.

    The tax is that of the worth, so what is given back has the tax of its rate, whatever the discounts were on.

    Attributes:
        taxes: the tax by rate as billed, where it has several; else empty. They sum to more than `tax` where later
            bills gave back some of it.
        credited_taxes: what was given back of each.
    """

    line_id: int
    net: Decimal
    tax: Decimal
    credited_net: Decimal = ZERO
    credited_tax: Decimal = ZERO
    taxes: tuple[Decimal, ...] = ()
    credited_taxes: tuple[Decimal, ...] = ()

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
    """What is given back of one line.

    Attributes:
        taxes: the tax by rate, where it has several; else empty.
    """

    line_id: int
    net: Decimal
    tax: Decimal
    taxes: tuple[Decimal, ...] = ()

    @property
    def total(self) -> Decimal:
        return EXACT.add(self.net, self.tax)


def creditable_lines(lines: Sequence[BilledLine], *, currency: str, is_inclusive: bool) -> list[Creditable]:
    """Give what the charges of an invoice are worth; together they are the invoice, net and tax.

    A discount is off the charge that it names; what is off nothing in particular (a credit, a correction) is shared
    out over the charges of its tax rate, and over all where these do not reach: those of its own bill first. Each
    rate's tax then goes to its charges in proportion to what is left of them.

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
        rest = -line.gross
        for keys in _bearers(line, charges):
            rest = _take(worth, keys, rest, digits)
            if not rest:
                break
        if rest:
            return []
    taxes = _taxes(lines, charges, worth, digits, is_inclusive)
    found = []
    for line in charges:
        gross, parts = worth[line.line_id], taxes[line.line_id]
        tax = sum(parts, ZERO)
        net = EXACT.subtract(gross, tax) if is_inclusive else gross
        found.append(Creditable(line.line_id, net, tax, taxes=tuple(parts) if line.taxes else ()))
    return found


def credit_whole(lines: Sequence[Creditable], *, currency: str) -> list[Credit]:
    """Give back everything that is left."""
    return _filled([_credit(line, line.left_net, line.left_tax, currency=currency) for line in lines])


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
            _credit(line, amount, EXACT.subtract(min(max(tax, low), high), line.credited_tax), currency=currency)
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
        found.append(_credit(line, EXACT.subtract(share, given), given, currency=currency))
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


def _bearers(line: BilledLine, charges: Sequence[BilledLine]) -> Iterator[list[int]]:
    """Give the charges that a line is off, those first that bear it first."""
    beside = [one for one in charges if one.member == line.member]
    if line.reference.startswith(PREFIX):
        named = charge_of(line.reference)
        yield [one.line_id for one in beside if one.reference == named]
    for among in (beside, charges):
        yield [one.line_id for one in among if one.group == line.group]
        yield [one.line_id for one in among]


def _take(worth: dict[int, Decimal], keys: Sequence[int], amount: Decimal, digits: int) -> Decimal:
    """Take an amount off some charges by what they are worth; gives what they could not bear."""
    room = sum((worth[key] for key in keys), ZERO)
    part = min(amount, room)
    if part > 0:
        for key, share in zip(keys, allocate(part, [worth[key] for key in keys], digits=digits), strict=True):
            worth[key] = EXACT.subtract(worth[key], share)
    return EXACT.subtract(amount, part)


def _taxes(
    lines: Sequence[BilledLine],
    charges: Sequence[BilledLine],
    worth: Mapping[int, Decimal],
    digits: int,
    is_inclusive: bool,
) -> dict[int, list[Decimal]]:
    """Share each tax of each group out over its charges, and that of a group without charges over all.

    A tax below zero is of a group whose discounts are more than its charges, which are worth nothing then. It is
    taken off all charges, by what they are worth with the taxes above zero, so that none is worth less than nothing.
    """
    found = {line.line_id: [ZERO] * len(line.parts) for line in charges}
    below: list[Decimal] = []
    for group in dict.fromkeys(line.group for line in lines):
        own = [line for line in lines if line.group == group]
        keys = [line.line_id for line in charges if line.group == group]
        for place, tax in enumerate(_sums(own)):
            if tax < 0:
                below.append(tax)
            elif tax and worth:
                takers = keys or list(worth)
                shares = allocate(tax, [worth[key] for key in takers], digits=digits)
                for key, share in zip(takers, shares, strict=True):
                    # A tax of a group without charges has no place of its own in those of another.
                    at = place if keys else len(found[key]) - 1
                    found[key][at] = EXACT.add(found[key][at], share)
    for tax in below if worth else ():
        values = [worth[key] if is_inclusive else sum(found[key], worth[key]) for key in worth]
        for key, share in zip(worth, allocate(tax, values, digits=digits), strict=True):
            found[key] = _less(found[key], -share, digits)
    return found


def _less(taxes: Sequence[Decimal], amount: Decimal, digits: int) -> list[Decimal]:
    """Take an amount off taxes by what they are; what they do not reach for is the last one's, below zero."""
    reached = min(amount, sum(taxes, ZERO))
    left = [EXACT.subtract(tax, off) for tax, off in zip(taxes, allocate(reached, taxes, digits=digits), strict=True)]
    return [*left[:-1], EXACT.subtract(left[-1], amount - reached)]


def _sums(lines: Sequence[BilledLine]) -> list[Decimal]:
    """Give each tax of lines that are taxed alike."""
    return [sum(column, ZERO) for column in zip(*(line.parts for line in lines), strict=True)]


def _credit(line: Creditable, net: Decimal, tax: Decimal, *, currency: str) -> Credit:
    """Give what is given back of a line, with each of its taxes.

    What is given back by now of each tax follows from the tax given back by now, so that the last part of a line
    takes what is left of every one, however it was parted.
    """
    if not line.taxes:
        return Credit(line.line_id, net, tax)
    by_now = _split(EXACT.add(line.credited_tax, tax), line.taxes, currency)
    return Credit(line.line_id, net, tax, _difference(by_now, line))


def _difference(by_now: Sequence[Decimal], line: Creditable) -> tuple[Decimal, ...]:
    before = line.credited_taxes or (ZERO,) * len(by_now)
    return tuple(EXACT.subtract(one, known) for one, known in zip(by_now, before, strict=True))


def _split(amount: Decimal, taxes: Sequence[Decimal], currency: str) -> list[Decimal]:
    """Split what is given back of a tax into its parts, each growing with it and never beyond what it is.

    One part after the other takes its share of what is left, rounded; as the share is at most one, it grows by one
    unit at most when the amount does.
    """
    left, rest, found = amount, sum(taxes, ZERO), []
    if left == rest:
        return list(taxes)
    for tax in taxes[:-1]:
        part = round_money(EXACT.divide(EXACT.multiply(left, tax), rest), currency) if rest else ZERO
        found.append(part)
        left, rest = EXACT.subtract(left, part), EXACT.subtract(rest, tax)
    return [*found, left]


def _part(line: Creditable, amount: Decimal, whole: Decimal, currency: str) -> Decimal:
    return round_money(EXACT.divide(EXACT.multiply(line.tax, amount), whole), currency)


def _filled(credits: Sequence[Credit]) -> list[Credit]:
    return [credit for credit in credits if credit.net or credit.tax]
