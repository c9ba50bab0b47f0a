"""Usage of a period billed in parts: each bill takes the whole so far, less what the bills before it billed.

Every line is worked out as if nothing had been billed of its period, rounded, and then reduced by the rounded lines
of the same reference on earlier bills. So all bills of a period add up to what one bill alone would have said, for
every price model and whatever else changes a line, to the minor unit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from apps.invoicing.domain.targets import TargetLine
from apps.kernel.money import EXACT, format_decimal, round_to
from apps.kernel.time import Period, format_instant
from apps.rating.lines import Billed, rate_usage
from apps.rating.price_models.standard import StandardPrice
from apps.rating.steps import step_of
from apps.rating.usage import Usage

SOURCE = "earlyBills"
# Begins the reference of a line that takes back what early bills billed for a charge that is no more.
WITHDRAWN = "withdrawn:"


@dataclass(frozen=True, slots=True)
class BilledEarly:
    """What early bills of a subscription billed under one reference.

    Attributes:
        gross: the sum of their rounded lines, major units.
        quantity: the sum of their quantities.
        last: the latest of the lines, for what it says beside its amounts.
        price_id: key of the price it goes by; None of what belongs to no price.
    """

    gross: Decimal
    quantity: Decimal
    last: TargetLine
    price_id: int | None


def less_billed_early(lines: Iterable[TargetLine], billed: Mapping[str, BilledEarly]) -> list[TargetLine]:
    """Give what of each line is still to be billed; n lines in, n lines out, same order."""
    found = []
    for line in lines:
        known, whole = billed.get(line.reference), line.gross if line.kind == "metered" else None
        is_whole = known is None and line.whole == whole
        found.append(line if is_whole else replace(_less(line, known), whole=whole))
    return found


def withdrawn_lines(
    lines: Iterable[TargetLine],
    billed: Mapping[str, BilledEarly],
    *,
    is_settled: Callable[[BilledEarly], bool],
    currency: str,
    as_of: datetime,
) -> list[TargetLine]:
    """Give lines that take back what early bills billed for charges that are no more.

    Such a charge was of a price that the subscription left at once, or of an agreement that was taken back.

    Args:
        lines: those of the bill.
        billed: by reference.
        is_settled: whether a charge must be on this bill if there still is one.
        currency: decides the minor unit.
        as_of: for provenance.
    """
    known = {line.reference for line in lines}
    return [
        _withdrawn(reference, early, currency, as_of)
        for reference, early in billed.items()
        if reference not in known and is_settled(early) and early.gross
    ]


def worth_billing(lines: Sequence[TargetLine]) -> list[TargetLine]:
    """Give the lines of an early bill; none when they come to nothing: an early bill never gives back."""
    kept = [line for line in lines if line.gross]
    return kept if sum((line.gross for line in kept), Decimal(0)) > 0 else []


def _less(line: TargetLine, early: BilledEarly | None) -> TargetLine:
    if early is None:
        return line
    is_usage = line.kind == "metered"
    gross = EXACT.subtract(line.gross, early.gross)
    quantity = EXACT.subtract(line.quantity, early.quantity) if is_usage else line.quantity
    unit_price = line.unit_price
    if not is_usage or unit_price != early.last.unit_price:
        unit_price = round_to(EXACT.divide(gross, quantity), 15) if quantity else Decimal(0)
    return replace(
        line,
        gross=gross,
        quantity=quantity,
        unit_price=unit_price,
        provenance=_reduced(line.provenance, early, gross, quantity, unit_price),
    )


def _reduced(
    provenance: Mapping[str, Any], early: BilledEarly, gross: Decimal, quantity: Decimal, unit_price: Decimal
) -> dict[str, Any]:
    given = {
        "amount": format_decimal(early.gross),
        "quantity": format_decimal(early.quantity),
        "unitPrice": format_decimal(early.last.unit_price),
    }
    step = step_of("subtract", "amount", provenance["result"]["amount"], gross, given, SOURCE)
    return {
        **provenance,
        "sources": {**provenance["sources"], SOURCE: {"type": "invoice"}},
        "steps": [*provenance["steps"], step],
        "result": {
            "amount": format_decimal(gross),
            "quantity": format_decimal(quantity),
            "unitPrice": format_decimal(unit_price),
        },
    }


def _withdrawn(reference: str, early: BilledEarly, currency: str, as_of: datetime) -> TargetLine:
    name = early.last.display_name.removesuffix(" (withdrawn)")
    last = replace(
        early.last, reference=f"{WITHDRAWN}{reference}", display_name=f"{name[:240]} (withdrawn)", description=""
    )
    period = Period(last.period_start, last.period_end)
    if last.kind == "metered":
        # Nothing is charged for it any more, so that what cannot be given back now is carried as of a correction.
        rated = rate_usage(
            price=StandardPrice(Decimal(0)),
            usage=Usage(Decimal(0)),
            currency=currency,
            period=period,
            sources={SOURCE: {"type": "invoice"}, "earlierInvoice": {"type": "invoice"}},
            calculated_at=as_of,
            already_billed=Billed(Usage(early.quantity), early.quantity, early.gross),
        )
        return replace(
            last, quantity=rated.quantity, unit_price=rated.unit_price, gross=rated.subtotal,
            whole=Decimal(0), provenance=rated.provenance,
        )  # fmt: skip
    gross = EXACT.subtract(Decimal(0), early.gross)
    nothing: dict[str, Any] = {
        "status": "available",
        "version": 1,
        "currency": currency,
        "period": {"start": format_instant(period.start), "end": format_instant(period.end)},
        "inputs": {"kind": last.kind, "amount": {"value": "0", "source": SOURCE}},
        "sources": {},
        "steps": [step_of("replace", "amount", "0", Decimal(0), {"amount": "0"}, SOURCE)],
        "notApplied": [],
        "result": {"amount": "0"},
    }
    return replace(
        last, quantity=Decimal(1), unit_price=gross, gross=gross,
        provenance=_reduced(nothing, early, gross, Decimal(1), gross),
    )  # fmt: skip
