"""An invoice as a document says it: plain figures and dates, whatever the format."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from apps.documents.domain.parties import Party
from apps.kernel.money import EXACT
from apps.taxes.domain.rules import OUTSIDE
from apps.taxes.domain.treatment import Treatment


@dataclass(frozen=True, slots=True)
class PaperLine:
    """One line, in major units, rounded to the minor one where it is money.

    Attributes:
        net: without tax; `net + tax` is what the line costs.
        is_inclusive: the unit price contains the tax, the net amount does not.
        is_out_of_scope: what it bills is no supply, so no tax is due whoever buys.
        steps: the calculation in words.
        treatment: what a registration of the merchant decided about its tax; None where plan and customer did.
        taxes: the tax by the treatment's components.
    """

    name: str
    description: str
    kind: str
    start: datetime
    end: datetime
    quantity: Decimal
    unit_price: Decimal
    net: Decimal
    tax_rate: Decimal
    tax: Decimal
    is_late: bool
    is_inclusive: bool
    is_out_of_scope: bool
    steps: Sequence[str]
    treatment: Treatment | None = None
    taxes: Sequence[Decimal] = ()


@dataclass(frozen=True, slots=True)
class Paper:
    """Everything a document says; an issued invoice has one that never changes.

    Attributes:
        number: None before it is issued; such a document is a preview and says so.
        status: in words, for a preview.
        start, end: what is billed, half-open.
        is_tax_exempt: the subscription is.
        timezone: of the service periods.
        prepaid: what the customer's balance paid when it was issued.
    """

    number: str | None
    status: str
    currency: str
    issued_at: datetime | None
    due_at: datetime | None
    start: datetime
    end: datetime
    seller: Party
    buyer: Party
    is_tax_exempt: bool
    timezone: str
    subtotal: Decimal
    total_tax: Decimal
    lines: Sequence[PaperLine]
    prepaid: Decimal = Decimal(0)

    @property
    def seller_tax_id(self) -> str:
        """The id of the registration that decided the taxes, if it is one alone, else the merchant's own."""
        ids = {line.treatment.seller_tax_id for line in self.lines if line.treatment is not None} - {""}
        return ids.pop() if len(ids) == 1 else self.seller.tax_id

    @property
    def due_amount(self) -> Decimal:
        return EXACT.subtract(self.grand_total, self.prepaid)

    @property
    def grand_total(self) -> Decimal:
        return EXACT.add(self.subtotal, self.total_tax)

    @property
    def issued_on(self) -> date | None:
        """The day of issue where the merchant is."""
        return None if self.issued_at is None else self.issued_at.astimezone(ZoneInfo(self.seller.timezone)).date()

    @property
    def due_on(self) -> date | None:
        # Due at midnight UTC of a day: the day is meant, not the moment.
        return None if self.due_at is None else self.due_at.date()


@dataclass(frozen=True, slots=True)
class TaxSum:
    """What the lines of one tax come to; a line with several counts in the net amount of each.

    Attributes:
        name: of the tax and its jurisdiction; empty where it was not decided by a registration.
        reason: why nothing is owed.
    """

    rate: Decimal
    is_out_of_scope: bool
    net: Decimal
    tax: Decimal
    name: str = ""
    reason: str = ""

    @property
    def total(self) -> Decimal:
        return EXACT.add(self.net, self.tax)


def tax_sums(lines: Sequence[PaperLine]) -> list[TaxSum]:
    """Give the taxes of a document by rate, the highest first; what is outside the scope of tax comes last."""
    found: dict[Hashable, TaxSum] = {}
    for line in lines:
        for row in _taxes_of(line):
            key = (row.is_out_of_scope, row.rate, row.name, row.reason)
            before = found.get(key)
            if before is not None:
                row = replace(row, net=EXACT.add(before.net, row.net), tax=EXACT.add(before.tax, row.tax))
            found[key] = row
    return sorted(found.values(), key=lambda row: (row.is_out_of_scope, -row.rate))


def _taxes_of(line: PaperLine) -> Sequence[TaxSum]:
    decision = line.treatment
    if decision is None:
        return [TaxSum(line.tax_rate, line.is_out_of_scope, line.net, line.tax)]
    if not decision.components:
        is_outside = decision.category == OUTSIDE
        return [TaxSum(Decimal(0), is_outside, line.net, Decimal(0), reason=decision.reason)]
    return [
        TaxSum(component.percent, False, line.net, tax, name=f"{component.jurisdiction} {component.name}".strip())
        for component, tax in zip(decision.components, line.taxes, strict=True)
    ]


def first_day(start: datetime, timezone: str) -> date:
    """Give the local day on which a period begins."""
    return start.astimezone(ZoneInfo(timezone)).date()


def last_day(start: datetime, end: datetime, timezone: str) -> date:
    """Give the last local day that a half-open period touches."""
    local = end.astimezone(ZoneInfo(timezone))
    if end > start and local.time() == time():
        return local.date() - timedelta(days=1)
    return local.date()


def period_in_words(start: datetime, end: datetime, timezone: str) -> str:
    """Give a period by its days where it is whole days, else by its moments."""
    zone = ZoneInfo(timezone)
    begins, ends = start.astimezone(zone), end.astimezone(zone)
    if begins.time() == ends.time() == time():
        first, last = begins.date(), last_day(start, end, timezone)
        return f"{first}" if first == last else f"{first} – {last}"
    return f"{begins:%Y-%m-%d %H:%M} – {ends:%Y-%m-%d %H:%M}"
