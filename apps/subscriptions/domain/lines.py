"""The price timeline as it is shown: every interval, also where the plan's own terms hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from apps.kernel.ids import derived_id
from apps.kernel.money import format_decimal
from apps.kernel.time import Cadence, format_instant
from apps.subscriptions.domain.timeline import OVERRIDE, OWNED, Interval, Step, Timeline, quantity_at

ONE_OFF = "one_off"
ONE = Decimal(1)
_Piece = tuple[Interval | None, str, datetime, datetime | None]


@dataclass(frozen=True, slots=True)
class Line:
    """What one key of a subscription bills by the catalogue.

    Attributes:
        revision_id: key of the terms.
        quantity: of a fee; 1 of a metered price.
        unit_price: where every unit costs the same.
        unit_cost: what a first unit costs, whatever the model.
        period: its cadence as it was given, or the plan's.
        is_usage: events are its quantity.
        takes_unit_price: one price for every unit could take the place of the model.
        is_owned: the subscription alone has it, beside its plan.
        metric_public_id: of what counts it, or what it charges flat; empty: a fee.
    """

    key: str
    price_id: int
    price_public_id: str
    revision_id: int
    quantity: Decimal
    unit_price: Decimal | None
    unit_cost: Decimal
    period: str
    is_in_advance: bool
    is_usage: bool
    is_obligation: bool
    takes_unit_price: bool
    is_owned: bool = False
    metric_public_id: str = ""

    @property
    def cadence(self) -> Cadence:
        return Cadence.parse(self.period)

    @property
    def billing_cadence(self) -> str:
        return ONE_OFF if self.cadence.is_once else self.period

    @property
    def billing_mode(self) -> str:
        return "advance" if self.is_in_advance else "arrears"


@dataclass(frozen=True, slots=True)
class Shown:
    """An interval as it is in force.

    Attributes:
        row: what says so; None where the plan does.
        quantity: at its start.
        transitions: later quantities.
        version: id of the plan version that it belongs to.
    """

    public_id: str
    line: Line
    row: Interval | None
    start: datetime
    end: datetime | None
    unit_price: Decimal | None
    quantity: Decimal
    transitions: tuple[Step, ...]
    bills_at: datetime | None
    version: str

    @property
    def unit_cost(self) -> Decimal:
        """What a unit costs."""
        return self.line.unit_cost if self.unit_price is None else self.unit_price


def shown_intervals(
    timeline: Timeline, lines: Sequence[Line], *, subscription: str, version: str, starts_at: datetime
) -> list[Shown]:
    """Give every interval of a subscription in order of time, those of one time in the order of the lines.

    Args:
        lines: of the plan, then those of this subscription only.
        subscription: its public id; makes the ids of intervals that are not stored.
        version: id of the plan version it is on.
        starts_at: when the service begins.
    """
    found = [
        _shown(timeline, line, version, *piece)
        for line in lines
        for piece in _pieces(timeline, line, subscription, starts_at)
    ]
    return sorted(found, key=lambda shown: shown.start)


def interval_id(subscription: str, key: str, start: datetime) -> str:
    """Give the id of an interval in which the plan's terms hold; once something differs in it, it keeps the id."""
    return derived_id("pint", subscription, key, start.isoformat())


def copy_of(shown: Shown) -> dict[str, Any]:
    """Give what an interval bills, in the wire's form."""
    return {
        "priceId": shown.line.price_public_id,
        "priceKey": shown.line.key,
        "planVersionId": shown.version,
        "unitPrice": None if shown.unit_price is None else format_decimal(shown.unit_price),
        "resolvedUnitPrice": format_decimal(shown.unit_cost),
        "baseQuantity": format_decimal(shown.quantity),
        "quantityTransitions": [
            {"effectiveDate": format_instant(step.at), "quantity": format_decimal(step.quantity)}
            for step in shown.transitions
        ],
        "billingCadence": shown.line.billing_cadence,
        "billingMode": shown.line.billing_mode,
        "billDate": None if shown.bills_at is None else format_instant(shown.bills_at),
        "startDate": format_instant(shown.start),
        "endDate": None if shown.end is None else format_instant(shown.end),
    }


def _pieces(timeline: Timeline, line: Line, subscription: str, starts_at: datetime) -> Iterator[_Piece]:
    rows = timeline.of_key(line.key)
    if line.is_owned:
        yield from ((row, row.public_id, row.start, row.end) for row in rows if row.kind == OWNED)
        return
    start: datetime | None = starts_at
    for row in rows:
        if start is not None and row.start > start:
            yield None, interval_id(subscription, line.key, start), start, row.start
        if row.kind == OVERRIDE:
            yield row, row.public_id, row.start, row.end
        start = row.end
    if start is not None:
        yield None, interval_id(subscription, line.key, start), start, None


def _shown(
    timeline: Timeline,
    line: Line,
    version: str,
    row: Interval | None,
    public_id: str,
    start: datetime,
    end: datetime | None,
) -> Shown:
    steps = (row.steps if row is not None else ()) or timeline.steps.get(line.key, ())
    quantity = quantity_at(steps, start)
    first = start if line.cadence.is_once else None
    return Shown(
        public_id=public_id,
        line=line,
        row=row,
        start=start,
        end=end,
        unit_price=row.unit_price if row is not None else None,
        quantity=line.quantity if quantity is None else quantity,
        transitions=tuple(step for step in steps if start < step.at and (end is None or step.at < end)),
        bills_at=(row.bills_at or first) if row is not None else first,
        version=(row.version if row is not None else "") or version,
    )
