"""An invoice in the terms of EN 16931, whatever the syntax.

The standard's rules hold by construction: lines sum to the net total, taxes by category to the tax total, and both
to the grand total, because they are the invoice's own rounded figures, regrouped and never computed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from apps.documents.domain.paper import Paper, PaperLine, first_day, last_day
from apps.documents.domain.parties import Party
from apps.kernel.money import EXACT, minor_digits, round_money
from apps.organizations.domain.countries import COUNTRIES
from apps.organizations.domain.identifiers import full_vat_id, vat_id_problem
from apps.taxes.domain.rules import COMMUNITY, EXEMPT, OUTSIDE, REVERSE, STANDARD
from apps.taxes.domain.treatment import REASON_CODES, REASONS

SPECIFICATION = "urn:cen.eu:en16931:2017"
COMMERCIAL_INVOICE, CREDIT_NOTE = "380", "381"
SEPA_TRANSFER, TRANSFER = "58", "30"
# A unit of the standard's list for what has no other: one.
ONE = "C62"
# What is said of an amount below zero, which the customer's balance has.
IN_FAVOUR = "The amount in your favour is on your balance and pays later invoices"
# The standard writes no more digits of an amount.
MOST_DIGITS = 2


@dataclass(frozen=True, slots=True)
class Gap:
    """Something the standard asks for and the invoice does not have: what, of whom, and what to do."""

    of: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ELine:
    """A line; its net amount is `quantity × price ÷ base_quantity`, rounded.

    Attributes:
        price: never negative; what is given back has a negative quantity.
        base_quantity: how many units the price is for; None for one.
        rate: percent; None outside the scope of tax.
    """

    number: str
    name: str
    description: str
    quantity: Decimal
    price: Decimal
    base_quantity: Decimal | None
    net: Decimal
    category: str
    rate: Decimal | None
    start: date
    end: date


@dataclass(frozen=True, slots=True)
class ETax:
    """What the lines of one category and rate come to."""

    category: str
    rate: Decimal | None
    net: Decimal
    tax: Decimal
    reason: str
    reason_code: str


@dataclass(frozen=True, slots=True)
class EInvoice:
    """An issued invoice, or a credit note; its first and last day are those of its lines' services.

    Attributes:
        corrects, corrects_on: the invoice that a credit note gives back of; its amounts are above zero then.
        note: why it does.
        deliver_to: country that goods are shipped to, where the tax depends on it.
    """

    number: str
    issued_on: date
    due_on: date | None
    currency: str
    start: date
    end: date
    seller: Party
    buyer: Party
    seller_vat_id: str
    buyer_vat_id: str
    lines: Sequence[ELine]
    taxes: Sequence[ETax]
    net: Decimal
    tax: Decimal
    prepaid: Decimal
    corrects: str = ""
    corrects_on: date | None = None
    note: str = ""
    deliver_to: str = ""

    @property
    def type_code(self) -> str:
        return CREDIT_NOTE if self.corrects else COMMERCIAL_INVOICE

    @property
    def terms(self) -> str:
        """What stands in the place of a due date where there is none."""
        if self.corrects:
            return f"Given back of {self.corrects}"
        return IN_FAVOUR if self.total < 0 else ""

    @property
    def due(self) -> Decimal:
        return EXACT.subtract(self.total, self.prepaid)

    @property
    def total(self) -> Decimal:
        return EXACT.add(self.net, self.tax)

    @property
    def payment_means(self) -> str:
        """The code of a transfer to the seller's account, or nothing."""
        if not self.seller.iban or self.due <= 0 or self.corrects:
            return ""
        return SEPA_TRANSFER if self.currency == "EUR" else TRANSFER


def einvoice_of(paper: Paper) -> EInvoice | list[Gap]:
    """Give an issued invoice in the standard's terms, or everything that keeps it from having them."""
    gaps = gaps_of(paper)
    if gaps:
        return gaps
    assert paper.number is not None
    assert paper.issued_on is not None
    lines = [_line(number, line, paper) for number, line in enumerate(paper.lines, 1)]
    is_outside = any(line.category == OUTSIDE for line in lines)
    buyer_vat_id = _buyer_vat_id(paper)
    return EInvoice(
        number=paper.number,
        issued_on=paper.issued_on,
        # Nobody owes what is below zero by a day.
        due_on=paper.due_on if paper.grand_total >= 0 else None,
        currency=paper.currency,
        start=min(line.start for line in lines),
        end=max(line.end for line in lines),
        seller=paper.seller,
        buyer=paper.buyer,
        # What is not subject to tax must name nobody's tax id.
        seller_vat_id="" if is_outside else paper.seller_tax_id,
        buyer_vat_id="" if is_outside or vat_id_problem(buyer_vat_id) else buyer_vat_id,
        lines=lines,
        taxes=_taxes(paper, lines),
        net=paper.subtotal,
        tax=paper.total_tax,
        prepaid=paper.prepaid,
        deliver_to=paper.buyer.country if any(line.category == COMMUNITY for line in lines) else "",
    )


def gaps_of(paper: Paper) -> list[Gap]:
    """Give what the standard asks for and an invoice does not have."""
    seller, buyer = paper.seller, paper.buyer
    categories = {category_of(line, paper) for line in paper.lines}
    gaps = []
    if minor_digits(paper.currency) > MOST_DIGITS:
        gaps.append(
            Gap("invoice", "currency", f"The standard has two digits after the point, {paper.currency} more.")
        )
    if not paper.lines:
        gaps.append(Gap("invoice", "lineItems", "The standard knows no invoice without a line."))
    for of, party in (("merchant", seller), ("customer", buyer)):
        if party.country not in COUNTRIES:
            message = f"Give the country of the {of}'s address, by its two letters, such as DE."
            gaps.append(Gap(of, "address.country", message))
    if None in categories:
        gaps.append(Gap("customer", "zeroTax.category", "Say why the customer pays no tax: Z, E, AE or O."))
    if OUTSIDE in categories and len(categories - {None}) > 1:
        message = "What is not subject to tax stands on an invoice of its own in the standard; bill it apart."
        gaps.append(Gap("invoice", "lineItems", message))
    if OUTSIDE in categories and not seller.registration_number:
        message = "Give the merchant's number in its register; without tax it is what identifies it."
        gaps.append(Gap("merchant", "registrationNumber", message))
    if categories - {OUTSIDE, None} and (problem := _vat_id_gap(paper.seller_tax_id)):
        gaps.append(Gap("merchant", "vatId", problem))
    # Goods within the Union need the customer's id, whatever else it has.
    needs_id = COMMUNITY in categories or (REVERSE in categories and not buyer.registration_number)
    if needs_id and (problem := _vat_id_gap(_buyer_vat_id(paper))):
        gaps.append(Gap("customer", "taxId", f"{problem} It is who owes the tax."))
    return gaps


def category_of(line: PaperLine, paper: Paper) -> str | None:
    """Give the standard's code of a line's tax; None where it is not said why there is none."""
    if line.treatment is not None and line.treatment.category:
        return line.treatment.category
    if line.tax_rate > 0:
        return STANDARD
    if line.is_out_of_scope:
        return OUTSIDE
    return paper.buyer.zero_tax_reason or (EXEMPT if paper.is_tax_exempt else None)


def _buyer_vat_id(paper: Paper) -> str:
    """Give the customer's id that decided the taxes, if one did, else its own, with its country's letters."""
    ids = {line.treatment.buyer_tax_id for line in paper.lines if line.treatment is not None} - {""}
    return ids.pop() if len(ids) == 1 else full_vat_id(paper.buyer.tax_id, paper.buyer.country)


def _vat_id_gap(text: str) -> str | None:
    return vat_id_problem(text) if text else "Give a VAT id."


def _line(number: int, line: PaperLine, paper: Paper) -> ELine:
    quantity, price, base = _priced(line, paper.currency)
    category = category_of(line, paper) or ""
    first = first_day(line.start, paper.timezone)
    return ELine(
        number=str(number),
        name=line.name,
        description=line.description,
        quantity=quantity,
        price=price,
        base_quantity=base,
        net=line.net,
        category=category,
        rate=None if category == OUTSIDE else line.tax_rate,
        start=first,
        end=max(first, last_day(line.start, line.end, paper.timezone)),
    )


def _priced(line: PaperLine, currency: str) -> tuple[Decimal, Decimal, Decimal | None]:
    """Give quantity, price and the quantity the price is for, so that they make the net amount exactly.

    A tiered, prorated or tax-inclusive line is worth what it is worth for its whole quantity: so many units for
    that price.
    """
    sign = -1 if line.unit_price < 0 else 1
    if line.quantity and round_money(EXACT.multiply(line.quantity, line.unit_price), currency) == line.net:
        return line.quantity * sign, abs(line.unit_price), None
    quantity = abs(line.quantity) or Decimal(1)
    signed = -quantity if line.net < 0 else quantity
    return signed, abs(line.net), None if quantity == 1 else quantity


def _taxes(paper: Paper, lines: Sequence[ELine]) -> list[ETax]:
    sums: dict[tuple[str, Decimal | None], ETax] = {}
    for line, source in zip(lines, paper.lines, strict=True):
        key = (line.category, line.rate)
        reason, code = _reason(source, line.category, paper)
        known = sums.get(key) or ETax(line.category, line.rate, Decimal(0), Decimal(0), reason, code)
        reason = f"{known.reason}; {reason}" if reason not in known.reason else known.reason
        net, tax = EXACT.add(known.net, source.net), EXACT.add(known.tax, source.tax)
        sums[key] = ETax(line.category, line.rate, net, tax, reason, known.reason_code if code else "")
    return sorted(sums.values(), key=lambda one: (one.category, one.rate or 0))


def _reason(line: PaperLine, category: str, paper: Paper) -> tuple[str, str]:
    """Say why nothing is owed, in words and by the standard's code; nothing where something may be."""
    if category not in REASONS:
        return "", ""
    if line.treatment is not None and line.treatment.category:
        return line.treatment.reason or REASONS[category], line.treatment.reason_code
    return paper.buyer.zero_tax_note or REASONS[category], REASON_CODES.get(category, "")
