"""The lines of commitments and caps on one invoice: what earlier invoices did not bill, cut or give back yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from msgspec.structs import replace

from apps.invoicing.domain.cuts import PREFIX, calculation, cut_line, left_of_lines
from apps.invoicing.domain.spend import (
    CAP,
    CHARGE,
    COMMITMENT,
    RELEASED,
    ROLES,
    Entry,
    Span,
    Sums,
    Timeline,
    bound_of,
    sums_of,
    target_of,
)
from apps.invoicing.domain.targets import TargetLine
from apps.kernel.money import EXACT, allocate, format_decimal, minor_digits
from apps.kernel.time import format_instant
from apps.rating.adjustments import part_of
from apps.rating.steps import share_step, step_of

ZERO = Decimal(0)
EntryOf = Callable[[TargetLine], Entry | None]


@dataclass(frozen=True, slots=True)
class Label:
    """What a line is called and how it is taxed.

    Attributes:
        scope: what the rule is of, as references name it: a price's public id, or "plan".
    """

    scope: str
    name: str
    tax_rate: Decimal
    price_revision_id: int | None = None
    metric_id: int | None = None


@dataclass(frozen=True, slots=True)
class Settling:
    """A rule of a subscription, with what is needed to settle it on one invoice.

    Attributes:
        line: its periods.
        share: gives which part of a full period a period is worth.
        earlier: what other invoices bill.
        entry_of: gives what a line of this invoice bills.
        is_due: whether a period may be settled on this invoice.
        label: of the rule's own lines; by the key of a price revision where a cap gives back.
    """

    line: Timeline
    share: Callable[[Span], Fraction]
    earlier: Sequence[Entry]
    entry_of: EntryOf
    is_due: Callable[[Span], bool]
    label: Callable[[int | None], Label]
    currency: str

    def bound(self, span: Span) -> Decimal:
        return bound_of(span.rule, self.share(span), currency=self.currency)

    def sums(self, lines: Sequence[TargetLine], *, kind: str, price_id: int | None) -> dict[int, Sums]:
        """Give what is known of each period, this invoice included."""
        own = [entry for entry in map(self.entry_of, lines) if entry is not None]
        return sums_of([*self.earlier, *own], self.line, kind=kind, price_id=price_id)


def with_true_ups(lines: Sequence[TargetLine], rule: Settling, *, price_id: int | None) -> list[TargetLine]:
    """Give an invoice's lines with a line for each period whose true-up is not what was billed of it.

    The true-up is what a period misses of its commitment. What comes late lessens it: the line is then below zero, as
    much as was billed too much.
    """
    found = list(lines)
    sums = rule.sums(lines, kind=COMMITMENT, price_id=price_id)
    for place, span in enumerate(rule.line.spans):
        if not rule.is_due(span):
            continue
        known = sums.get(place, Sums())
        bound = rule.bound(span)
        amount = EXACT.subtract(target_of(span.rule, bound, known.counted), known.done)
        if not amount:
            continue
        label = rule.label(None)
        found.append(
            _own_line(
                label,
                span,
                amount,
                _true_up_steps(rule, span, bound, known),
                kind=COMMITMENT,
                reference=f"{COMMITMENT}:{label.scope}:{format_instant(span.service.start)}",
                currency=rule.currency,
            )
        )
    return found


def with_cap(lines: Sequence[TargetLine], rule: Settling, *, price_id: int | None) -> list[TargetLine]:
    """Give an invoice's lines with what a cap cuts of them, each cut right after its line.

    Of what passes the cap, the invoice's own charges of that period are cut; a cap that is lowered later gives
    nothing back of what earlier invoices billed. Where usage was cut and shrinks afterwards, the cut shrinks with it.
    """
    found = list(lines)
    sums = rule.sums(lines, kind=CAP, price_id=price_id)
    left = left_of_lines(lines)
    for place, span in enumerate(rule.line.spans):
        known = sums.get(place)
        if known is None:
            continue
        bound = rule.bound(span)
        missing = EXACT.subtract(target_of(span.rule, bound, known.counted), known.done)
        charges = [line for line in lines if _is_charge(rule, line, place, price_id) and left[line.reference] > 0]
        room = sum((left[line.reference] for line in charges), ZERO)
        cut = min(missing, room)
        if cut > 0:
            steps = _cut_steps(span, bound, known, missing, cut)
            weights = [left[line.reference] for line in charges]
            shares = allocate(cut, weights, digits=minor_digits(rule.currency))
            for line, weight, share in zip(charges, weights, shares, strict=True):
                if share:
                    _insert(found, line, _cut(rule, line, span, price_id, steps, weight, room, share))
        elif missing < 0 and rule.is_due(span):
            found.extend(_released(rule, place, span, known, -missing, price_id))
    return found


def _is_charge(rule: Settling, line: TargetLine, place: int, price_id: int | None) -> bool:
    entry = rule.entry_of(line)
    return (
        entry is not None
        and entry.role == CHARGE
        and not line.reference.startswith(PREFIX)
        and price_id in (None, entry.price_id)
        and rule.line.find(entry.at) == place
    )


def _insert(lines: list[TargetLine], after: TargetLine, line: TargetLine) -> None:
    """Put a cut behind the line that it is off, and behind what is off it already."""
    place = next(n for n, known in enumerate(lines) if known is after) + 1
    suffix = f":{after.reference}"
    while (
        place < len(lines) and lines[place].reference.startswith(PREFIX) and lines[place].reference.endswith(suffix)
    ):
        place += 1
    lines.insert(place, line)


def _cut(
    rule: Settling,
    line: TargetLine,
    span: Span,
    price_id: int | None,
    steps: list[dict[str, Any]],
    weight: Decimal,
    weights: Decimal,
    share: Decimal,
) -> TargetLine:
    part = share_step(
        Decimal(steps[-1]["out"]),
        share,
        weight=weight,
        of=weights,
        currency=rule.currency,
        source="line",
        is_off=True,
    )
    return cut_line(
        line,
        ROLES[CAP, price_id is not None],
        "Spend cap",
        share,
        [*steps, part],
        _sources(span),
        currency=rule.currency,
    )


def _released(
    rule: Settling, place: int, span: Span, known: Sums, amount: Decimal, price_id: int | None
) -> list[TargetLine]:
    """Give back of a cut what is not above the cap any more, in the tax rates in which it was cut."""
    role = ROLES[CAP, price_id is not None]
    cut: dict[int | None, Decimal] = {}
    for entry in rule.earlier:
        if entry.role == role and price_id in (None, entry.price_id) and rule.line.find(entry.at) == place:
            cut[entry.revision_id] = EXACT.subtract(cut.get(entry.revision_id, ZERO), entry.amount)
    weights = {key: value for key, value in sorted(cut.items(), key=lambda item: item[0] or 0) if value > 0}
    shares = allocate(amount, list(weights.values()), digits=minor_digits(rule.currency))
    found = []
    for key, share in zip(weights, shares, strict=True):
        if not share:
            continue
        label = rule.label(key)
        steps = [
            step_of("replace", "amount", "0", known.done, {"amount": format_decimal(known.done)}, "earlierInvoice"),
            _subtract(known.done, EXACT.subtract(known.done, amount), "still cut", "line"),
        ]
        whole = sum(weights.values(), ZERO)
        steps.append(
            share_step(
                amount, share, weight=weights[key], of=whole, currency=rule.currency, source="line", is_off=False
            )
        )
        reference = f"{RELEASED}{role}:{label.scope}:{format_instant(span.service.start)}"
        found.append(
            _own_line(label, span, share, steps, kind="discount", reference=reference, currency=rule.currency)
        )
    return found


def _own_line(
    label: Label,
    span: Span,
    amount: Decimal,
    steps: Sequence[Mapping[str, Any]],
    *,
    kind: str,
    reference: str,
    currency: str,
) -> TargetLine:
    bare = TargetLine(
        kind=kind,
        reference=reference,
        display_name=label.name[:255],
        payment_term="in_arrears",
        period_start=span.service.start,
        period_end=span.service.end,
        quantity=Decimal(1),
        unit_price=amount,
        gross=amount,
        tax_rate=label.tax_rate,
        price_revision_id=label.price_revision_id,
        metric_id=label.metric_id,
    )
    provenance = calculation(steps, _sources(span), amount, bare, kind=kind, currency=currency)
    return replace(bare, provenance=provenance)


def _sources(span: Span) -> dict[str, Any]:
    window = {"start": format_instant(span.service.start), "end": format_instant(span.service.end)}
    return {"spend": {**span.rule.source, "window": window}, "earlierInvoice": {"type": "lineItems"}}


def _true_up_steps(rule: Settling, span: Span, bound: Decimal, known: Sums) -> list[dict[str, Any]]:
    amount = span.rule.amount
    steps = [step_of("replace", "amount", "0", amount, {"amount": format_decimal(amount)}, "spend")]
    share = rule.share(span)
    if share != 1:
        exact = part_of(amount, share)
        params = {"numerator": str(share.numerator), "denominator": str(share.denominator)}
        steps.append(step_of("prorate", "amount", format_decimal(amount), exact, params, "period"))
        amount = exact
    rounding = {"digits": minor_digits(rule.currency), "mode": "HALF_UP"}
    steps.append(step_of("round", "amount", format_decimal(amount), bound, rounding, "currency"))
    missing = EXACT.subtract(bound, known.counted)
    steps.append(_subtract(bound, known.counted, "counted", "line"))
    if missing < 0:
        steps.append(step_of("setToBound", "amount", format_decimal(missing), ZERO, {"bound": "0"}, "spend"))
        missing = ZERO
    if known.done:
        steps.append(_subtract(missing, known.done, "billed", "earlierInvoice"))
    return steps


def _cut_steps(span: Span, bound: Decimal, known: Sums, missing: Decimal, cut: Decimal) -> list[dict[str, Any]]:
    counted = known.counted
    steps = [
        step_of("replace", "amount", "0", counted, {"amount": format_decimal(counted)}, "line"),
        _subtract(counted, bound, "cap", "spend"),
    ]
    if known.done:
        steps.append(_subtract(EXACT.subtract(counted, bound), known.done, "cut", "earlierInvoice"))
    if cut != missing:
        bounded = {"bound": format_decimal(cut)}
        steps.append(step_of("cap", "amount", format_decimal(missing), cut, bounded, "line"))
    return steps


def _subtract(amount: Decimal, less: Decimal, kind: str, source: str) -> dict[str, Any]:
    params = {"amount": format_decimal(less), "kind": kind}
    return step_of("subtract", "amount", format_decimal(amount), EXACT.subtract(amount, less), params, source)
