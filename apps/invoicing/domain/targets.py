"""What an invoice's lines should be: plain data, the same whether it is shown live or stored."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from apps.kernel.money import EXACT
from apps.rating.reading import bound_to_zero, evaluated
from apps.rating.tax import ZERO, tax_stacked
from apps.taxes.domain.treatment import Treatment


class TargetLine(msgspec.Struct, frozen=True):
    """One line as it should stand on an invoice now; a struct, since bills are made of very many.

    Attributes:
        reference: stable within the invoice; the same line at every calculation.
        gross: the rounded amount before tax is added, or with it contained, as the plan says.
        subtotal: without tax. `total` = subtotal + tax_amount.
        whole: of usage, what its whole period comes to by now, of which `gross` is what no early bill billed.
        treatment: what a registration of the merchant decided about its tax; None where the plan and customer did.
        tax_parts: its tax by the treatment's components.
    """

    kind: str
    reference: str
    display_name: str
    payment_term: str
    period_start: datetime
    period_end: datetime
    quantity: Decimal
    unit_price: Decimal
    gross: Decimal
    tax_rate: Decimal
    price_revision_id: int | None = None
    metric_id: int | None = None
    description: str = ""
    is_late: bool = False
    provenance: Mapping[str, Any] = msgspec.field(default_factory=dict)
    stored_id: int | None = None
    public_id: str = ""
    whole: Decimal | None = None
    subtotal: Decimal = Decimal(0)
    tax_amount: Decimal = Decimal(0)
    treatment: Treatment | None = None
    tax_parts: tuple[Decimal, ...] = ()

    @property
    def decision(self) -> Treatment | None:
        return self.treatment

    @property
    def taxes(self) -> tuple[Decimal, ...]:
        """Its tax by each rate that it has."""
        return self.tax_parts if self.treatment is not None else (self.tax_amount,) if self.tax_rate else ()

    @property
    def is_prepaid(self) -> bool:
        """Whether it was due at the start of its service; usage never is."""
        return self.payment_term == "in_advance" and self.kind != "metered"

    @property
    def total(self) -> Decimal:
        return EXACT.add(self.subtotal, self.tax_amount)


class Totals(msgspec.Struct, frozen=True):
    subtotal: Decimal
    total_tax: Decimal

    @property
    def grand_total(self) -> Decimal:
        return EXACT.add(self.subtotal, self.total_tax)


def limit_rebates(lines: Sequence[TargetLine], *, is_last: bool = False) -> list[TargetLine]:
    """Cut usage rebates, and true-ups given back, so that they never push a document below zero; the last first.

    Args:
        lines: of one document.
        is_last: no later document can take what is cut, so that only rebates are, which give way for good.
    """
    total = sum((line.gross for line in lines), Decimal(0))
    kept = list(lines)
    for index in reversed(range(len(kept))):
        line = kept[index]
        if total >= 0:
            break
        if line.kind not in ("metered", "commitment") or line.gross >= 0 or (is_last and not _is_rebate(line)):
            continue
        bounded = min(EXACT.subtract(line.gross, total), Decimal(0))
        total = EXACT.add(total, EXACT.subtract(bounded, line.gross))
        kept[index] = replace(line, gross=bounded, provenance=bound_to_zero(line.provenance, bounded))
    return kept


def _is_rebate(line: TargetLine) -> bool:
    return line.kind == "metered" and evaluated(line.provenance).amount < 0


def with_tax(
    lines: Sequence[TargetLine],
    *,
    currency: str,
    is_inclusive: bool,
    treatments: Sequence[Treatment | None] | None = None,
) -> list[TargetLine]:
    """Give the lines with their taxes: per tax on the sum of its lines, shared out so that they add up.

    Args:
        treatments: what was decided of each line, same order; None where its percent stands. By default the lines'.
    """
    decided = [line.treatment for line in lines] if treatments is None else treatments
    if not any(decided) and not any(line.tax_rate for line in lines):
        return [replace(line, subtotal=line.gross, tax_amount=ZERO) for line in lines]
    # Read once of each decision: few are made about very many lines.
    rates = {id(one): one.rate for one in decided if one is not None}
    known: dict[Hashable, list[tuple[Hashable, Decimal]]] = {}
    taxes = []
    for line, treatment in zip(lines, decided, strict=True):
        key = line.tax_rate if treatment is None else id(treatment)
        own = known.get(key)
        if own is None:
            own = known[key] = _taxes(line, treatment)
        taxes.append(own)
    taxed = tax_stacked([line.gross for line in lines], taxes, currency=currency, is_inclusive=is_inclusive)
    return [
        replace(line, subtotal=amount.net, tax_amount=amount.tax)
        if treatment is None
        else replace(
            line,
            subtotal=amount.net,
            tax_amount=amount.tax,
            treatment=treatment,
            tax_rate=rates[id(treatment)],
            tax_parts=amount.parts,
        )
        for line, treatment, amount in zip(lines, decided, taxed, strict=True)
    ]


def _taxes(line: TargetLine, treatment: Treatment | None) -> list[tuple[Hashable, Decimal]]:
    """Give the taxes of a line, each with what tells it from others, and its percent."""
    if treatment is None:
        return [(line.tax_rate, line.tax_rate)]
    return [(component, component.percent) for component in treatment.components]


def totals_of(lines: Sequence[TargetLine]) -> Totals:
    return Totals(
        subtotal=sum((line.subtotal for line in lines), Decimal(0)),
        total_tax=sum((line.tax_amount for line in lines), Decimal(0)),
    )
