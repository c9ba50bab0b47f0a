"""What credit notes give back adds up, however an invoice is parted."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from apps.invoicing.domain.crediting import (
    BilledLine,
    Credit,
    Creditable,
    credit_amount,
    credit_net,
    credit_whole,
    creditable_lines,
    destinations_of,
    use_oldest_first,
)
from apps.kernel.money import minor_digits
from apps.rating.tax import tax_stacked

# By percent, the taxes that it is the sum of.
STACKS = {
    Decimal(0): (Decimal(0),),
    Decimal("5.5"): (Decimal("5.5"),),
    Decimal(20): (Decimal(20),),
    Decimal(33): (Decimal(33),),
    Decimal("14.975"): (Decimal(5), Decimal("9.975")),
    Decimal("8.875"): (Decimal(4), Decimal("4.5"), Decimal("0.375")),
}
RATES = list(STACKS)
ZERO = Decimal(0)
D = Decimal


def billed(grosses: Sequence[Decimal], rates: Sequence[Decimal], own: Sequence[int | None], *, currency: str,
           is_inclusive: bool) -> list[BilledLine]:  # fmt: skip
    stacks = [[(tax, tax) for tax in STACKS[rate]] for rate in rates]
    taxed = tax_stacked(grosses, stacks, currency=currency, is_inclusive=is_inclusive)
    return [
        BilledLine(
            line_id=number,
            reference=f"line:{number}" if of is None else f"discount:cpa_1:line:{of}",
            gross=gross,
            net=tax.net,
            tax_rate=rate,
            tax=tax.tax,
            taxes=tax.parts if len(tax.parts) > 1 else (),
        )
        for number, (gross, rate, of, tax) in enumerate(zip(grosses, rates, own, taxed, strict=True))
    ]


@st.composite
def invoices(draw: st.DrawFn) -> tuple[str, bool, list[BilledLine]]:
    currency = draw(st.sampled_from(["USD", "JPY", "BHD"]))
    unit = Decimal(1).scaleb(-minor_digits(currency))
    count = draw(st.integers(1, 5))
    grosses = [draw(st.integers(1, 100_000)) * unit for _ in range(count)]
    rates = [draw(st.sampled_from(RATES)) for _ in range(count)]
    own: list[int | None] = [None] * count
    for number in range(count):
        # A discount of a line takes at most all of it, in its rate.
        if draw(st.booleans()):
            grosses.append(-draw(st.integers(1, int(grosses[number] / unit))) * unit)
            rates.append(rates[number])
            own.append(number)
    if draw(st.booleans()) and (left := int(sum(grosses, ZERO) / unit)):
        # A credit of nothing in particular.
        grosses.append(-draw(st.integers(1, left)) * unit)
        rates.append(draw(st.sampled_from(RATES)))
        own.append(None)
    is_inclusive = draw(st.booleans())
    return currency, is_inclusive, billed(grosses, rates, own, currency=currency, is_inclusive=is_inclusive)


def after(lines: Sequence[Creditable], credits: Sequence[Credit]) -> list[Creditable]:
    by_line = {credit.line_id: credit for credit in credits}
    return [
        replace(
            line,
            credited_net=line.credited_net + by_line[line.line_id].net,
            credited_tax=line.credited_tax + by_line[line.line_id].tax,
            credited_taxes=added(line, by_line[line.line_id]),
        )
        if line.line_id in by_line
        else line
        for line in lines
    ]


def added(line: Creditable, credit: Credit) -> tuple[Decimal, ...]:
    before = line.credited_taxes or (ZERO,) * len(line.taxes)
    return tuple(one + more for one, more in zip(before, credit.taxes, strict=True))


NO_CHARGE_OF_ITS_RATE = billed(
    [D("0.01"), D("0.06"), D("-0.07")], [D(0), D(20), D(33)], [None, None, None], currency="USD", is_inclusive=True
)

# The discount takes all that is of its rate, and more: its tax is off the charge of another one.
MORE_OFF_THAN_THERE_IS = billed(
    [D("0.01"), D("0.01"), D("3.69"), D("-3.70")],
    [D(0), D("5.5"), D(20), D("5.5")],
    [None] * 4,
    currency="USD",
    is_inclusive=False,
)  # fmt: skip


@example(("USD", True, NO_CHARGE_OF_ITS_RATE))
@example(("USD", False, MORE_OFF_THAN_THERE_IS))
@given(invoices())
def test_charges_are_worth_the_invoice(invoice: tuple[str, bool, list[BilledLine]]) -> None:
    currency, is_inclusive, lines = invoice
    charges = creditable_lines(lines, currency=currency, is_inclusive=is_inclusive)
    assert sum((c.net for c in charges), ZERO) == sum((line.net for line in lines), ZERO)
    assert sum((c.tax for c in charges), ZERO) == sum((line.tax for line in lines), ZERO)
    for charge in charges:
        assert charge.left >= 0
        line = lines[charge.line_id]
        assert len(charge.taxes) == len(line.taxes)
        assert not charge.taxes or sum(charge.taxes, ZERO) == charge.tax
        # With its tax or without, as the database holds it.
        assert min(charge.net, charge.net + charge.tax) <= max(line.gross, line.net)


@given(invoices(), st.data())
def test_any_partition_gives_the_invoice_back_to_the_minor_unit(
    invoice: tuple[str, bool, list[BilledLine]], data: st.DataObject
) -> None:
    currency, is_inclusive, lines = invoice
    unit = Decimal(1).scaleb(-minor_digits(currency))
    charges = creditable_lines(lines, currency=currency, is_inclusive=is_inclusive)
    net, tax = sum((line.net for line in lines), ZERO), sum((line.tax for line in lines), ZERO)
    given_net = given_tax = ZERO
    for _ in range(data.draw(st.integers(0, 8))):
        left = sum((charge.left for charge in charges), ZERO)
        if left <= 0:
            break
        if data.draw(st.booleans()):
            amount = data.draw(st.integers(1, int(left / unit))) * unit
            credits = credit_amount(charges, amount, currency=currency)
            assert sum((credit.total for credit in credits), ZERO) == amount
        else:
            open_charges = [charge for charge in charges if charge.left_net > 0]
            if not open_charges:
                continue
            charge = data.draw(st.sampled_from(open_charges))
            amount = data.draw(st.integers(1, int(charge.left_net / unit))) * unit
            credits = credit_net(charges, {charge.line_id: amount}, currency=currency)
            assert sum((credit.net for credit in credits), ZERO) == amount
        for credit in credits:
            assert credit.net % unit == 0
            assert credit.tax % unit == 0
            assert not credit.taxes or sum(credit.taxes, ZERO) == credit.tax
            assert all(part % unit == 0 for part in credit.taxes)
        charges = after(charges, credits)
        given_net += sum((credit.net for credit in credits), ZERO)
        given_tax += sum((credit.tax for credit in credits), ZERO)
        for charge in charges:
            assert 0 <= charge.credited_net <= charge.net or charge.net < 0
            assert min(ZERO, charge.tax) <= charge.credited_tax <= max(ZERO, charge.tax)
            # Each tax grows with what is given back, and never beyond what it is.
            for part, whole in zip(charge.credited_taxes, charge.taxes, strict=False):
                assert 0 <= part <= whole or min(charge.taxes) < 0
        assert given_net + given_tax <= net + tax
    rest = credit_whole(charges, currency=currency)
    assert given_net + sum((credit.net for credit in rest), ZERO) == net
    assert given_tax + sum((credit.tax for credit in rest), ZERO) == tax
    done = after(charges, rest)
    assert all(charge.left == 0 for charge in done)
    assert all(charge.credited_taxes == charge.taxes or not charge.tax for charge in done)


def test_each_tax_is_given_back_as_it_was_billed() -> None:
    lines = billed([D("0.10"), D("0.30")], [D("14.975")] * 2, [None, None], currency="USD", is_inclusive=False)
    # 5 % of 0.40 is 0.02, 9.975 % of it 0.04.
    assert [sum(column) for column in zip(*(line.taxes for line in lines), strict=True)] == [D("0.02"), D("0.04")]
    charges = creditable_lines(lines, currency="USD", is_inclusive=False)
    back = credit_whole(charges, currency="USD")
    assert [sum(column) for column in zip(*(one.taxes for one in back), strict=True)] == [D("0.02"), D("0.04")]
    [half] = credit_net(charges, {1: D("0.15")}, currency="USD")
    assert sum(half.taxes) == half.tax
    [rest] = [one for one in credit_whole(after(charges, [half]), currency="USD") if one.line_id == 1]
    assert tuple(a + b for a, b in zip(half.taxes, rest.taxes, strict=True)) == charges[1].taxes


def test_cents_of_tax_add_up_over_three_parts() -> None:
    [line] = billed([D("0.10")], [D(20)], [None], currency="USD", is_inclusive=False)
    charges = creditable_lines([line], currency="USD", is_inclusive=False)
    taxes = []
    for part in ("0.03", "0.03", "0.04"):
        credits = credit_net(charges, {0: D(part)}, currency="USD")
        taxes.append(credits[0].tax)
        charges = after(charges, credits)
    # 0.006, 0.012 and 0.02 by then: each rounded, each part the difference.
    assert taxes == [D("0.01"), D("0.00"), D("0.01")]


def test_a_discount_is_off_what_its_charge_gives_back() -> None:
    lines = billed([D(100), D(100), D(-20)], [D(20)] * 3, [None, None, 0], currency="EUR", is_inclusive=False)
    charges = creditable_lines(lines, currency="EUR", is_inclusive=False)
    assert [(charge.net, charge.tax) for charge in charges] == [(D(80), D(16)), (D(100), D(20))]


def test_contained_tax_follows_the_discount_too() -> None:
    lines = billed([D(100), D(100), D(-20)], [D(20)] * 3, [None, None, 0], currency="EUR", is_inclusive=True)
    charges = creditable_lines(lines, currency="EUR", is_inclusive=True)
    assert [charge.net + charge.tax for charge in charges] == [D(80), D(100)]
    assert [charge.tax for charge in charges] == [D("13.33"), D("16.67")]


def test_a_credit_of_nothing_in_particular_is_shared_out() -> None:
    lines = billed([D(60), D(40), D(-10)], [D(20), D(20), D(20)], [None] * 3, currency="USD", is_inclusive=False)
    charges = creditable_lines(lines, currency="USD", is_inclusive=False)
    assert [charge.net for charge in charges] == [D(54), D(36)]


def test_an_invoice_below_zero_has_nothing_to_credit() -> None:
    lines = billed([D(10), D(-30)], [D(20)] * 2, [None] * 2, currency="USD", is_inclusive=False)
    assert creditable_lines(lines, currency="USD", is_inclusive=False) == []


@given(st.integers(1, 1000), st.integers(-10, 1000), st.integers(0, 1000))
def test_destinations_sum_to_the_credit(total: int, due: int, refundable: int) -> None:
    goes = destinations_of(D(total), due=D(due), refundable=D(refundable))
    assert goes.due + goes.balance + goes.refund == total
    assert min(goes.due, goes.balance, goes.refund) >= 0
    assert goes.due <= max(due, 0)
    assert goes.refund <= refundable
    # What is due comes first.
    assert goes.due == max(due, 0) or goes.balance == goes.refund == 0


@given(st.lists(st.integers(1, 100), max_size=6), st.integers(0, 400))
def test_credits_are_used_oldest_first(credits: list[int], due: int) -> None:
    used = use_oldest_first([D(credit) for credit in credits], D(due))
    assert sum(used) == min(sum(credits), due)
    for older, part in zip(range(1, len(used)), used[1:], strict=True):
        assert part == 0 or used[older - 1] == credits[older - 1]
