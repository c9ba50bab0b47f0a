"""Bills before the end of a period, thresholds and alerts, by the product's marks and differences."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from apps.catalog.domain.thresholds import Marks
from apps.invoicing.domain.early import BilledEarly, less_billed_early, worth_billing
from apps.invoicing.domain.targets import TargetLine
from apps.kernel.money import format_decimal, round_money
from apps.kernel.time import Period
from apps.rating.lines import rate_usage
from apps.rating.price_models import PriceModel, TransactionPriceModel, count
from apps.rating.price_models.percentage import PercentagePrice
from apps.rating.price_models.standard import StandardPrice
from apps.rating.usage import Transaction, Usage
from tests.vectors.areas.common import Skip, cents, number

PERIOD = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
ZERO = Decimal(0)


class Bills:
    """The early bills of one price's usage in a period, as the job makes them."""

    def __init__(self, price: PriceModel) -> None:
        self.price = price
        self.billed: dict[str, BilledEarly] = {}

    def line(self, usage: Usage) -> TargetLine:
        """Give what the usage of the period by now would be on a bill, less what was billed of it."""
        rated = rate_usage(
            price=self.price, usage=usage, currency="USD", period=PERIOD, sources={}, calculated_at=PERIOD.end
        )
        return self._less(
            TargetLine(
                kind="metered",
                reference="usage",
                display_name="Usage",
                payment_term="in_advance",
                period_start=PERIOD.start,
                period_end=PERIOD.end,
                quantity=rated.quantity,
                unit_price=rated.unit_price,
                gross=rated.subtotal,
                tax_rate=ZERO,
                provenance=rated.provenance,
            )
        )

    def bill(self, line: TargetLine) -> Decimal:
        """Bill a line, if an early bill of it is worth while."""
        if not worth_billing([line]):
            return ZERO
        before = self.billed.get("usage")
        self.billed["usage"] = BilledEarly(
            line.gross + (before.gross if before else ZERO),
            line.quantity + (before.quantity if before else ZERO),
            line,
            None,
        )
        return line.gross

    @property
    def total(self) -> Decimal:
        return self.billed["usage"].gross if self.billed else ZERO

    def _less(self, line: TargetLine) -> TargetLine:
        (due,) = less_billed_early([line], self.billed)
        return due


def charge_in_advance(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    match inputs["model"], inputs.get("aggregation"):
        case "percentage", _:
            return _percentage(inputs)
        case "standard", "sum":
            bills = Bills(StandardPrice(number(inputs["unit_price"])))
            fees, units = [], []
            for total in _running([number(value) for value in inputs["event_units"]]):
                line = bills.line(Usage(total))
                fee = bills.bill(line)
                fees.append(cents(fee))
                units.append(line.quantity if fee else ZERO)
            return {"fee_cents_per_event": fees, "billed_units": units}
        case "standard", "unique_count":
            raise Skip("values are not removed from a unique count here")
        case other:
            raise Skip(f"inputs of another shape: {other}")


def progressive_billing(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "period_usage_cents" in inputs:
        bills = Bills(StandardPrice(Decimal("0.01")))
        bills.bill(bills.line(Usage(number(inputs["billed_progressively_cents"]))))
        whole = number(inputs["period_usage_cents"])
        line = bills.line(Usage(whole))
        credit = int(whole) - cents(line.gross)
        return {"credit_cents": credit, "excess_to_credit_note_cents": max(-cents(line.gross), 0)}
    marks = _marks(inputs["one_time_thresholds_cents"], inputs["recurring_threshold_cents"])
    bills = Bills(StandardPrice(number(inputs["unit_price"])))
    lifetime, used, made = number(inputs["lifetime_usage_before_cents"]), ZERO, []
    for units in inputs["event_units"]:
        used += number(units)
        line = bills.line(Usage(used))
        now = number(inputs["lifetime_usage_before_cents"]) + cents(bills.total + line.gross)
        made.append(cents(bills.bill(line)) if marks.crossed(lifetime, now) else None)
        lifetime = now
    usage = bills.line(Usage(used)).gross
    fee = number(inputs["subscription_fee_of_period_cents"])
    whole = fee + cents(bills.total + usage)
    return {
        "invoice_after_each_event_cents": made,
        "final_fees_cents": whole,
        "final_credit_cents": cents(bills.total),
        "final_total_cents": fee + cents(usage),
    }


def usage_threshold_progress(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    marks = _marks(inputs["one_time_thresholds_cents"], inputs["recurring_threshold_cents"])
    found = marks.progress(number(inputs["lifetime_usage_cents"]))
    return {
        "progress": [{"threshold": int(mark), "ratio": format_decimal(ratio.normalize())} for mark, ratio in found]
    }


def usage_alert(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    marks = _marks(inputs["one_time_thresholds"], inputs["recurring_step"])
    return {
        "crossed": marks.crossed(
            number(inputs["previous_value"]),
            number(inputs["current_value"]),
            is_rising=inputs["direction"] == "increasing",
        )
    }


def billing_threshold(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if inputs.get("reset_billing_cycle_anchor"):
        raise Skip("a threshold never moves the calendar here")
    marks = _marks([inputs["amount_gte"]], None)
    passed = marks.crossed(ZERO, round_money(number(inputs["uninvoiced_amount"]), "USD"))
    return {"result": "invoice" if passed else "no_invoice"}


def _percentage(inputs: dict[str, Any]) -> dict[str, Any]:
    def known(name: str) -> Decimal | None:
        return None if inputs.get(name) is None else number(inputs[name])

    price: TransactionPriceModel = PercentagePrice(
        percentage=number(inputs["rate_percent"]) / 100,
        minimum=known("min_per_transaction"),
        maximum=known("max_per_transaction"),
        fixed=number(inputs["fixed_per_paid_event"]),
        free_events=inputs["free_events"],
        free_amount=known("free_amount"),
    )
    bills = Bills(price)
    events = [Transaction(number(value)) for value in inputs["events"]]
    fees = []
    for n, total in enumerate(_running([event.value for event in events]), 1):
        fees.append(cents(bills.bill(bills.line(Usage(total, count(price, events[:n]))))))
    return {"fee_cents_per_event": fees}


def _running(values: Sequence[Decimal]) -> list[Decimal]:
    return [sum(values[: n + 1], ZERO) for n in range(len(values))]


def _marks(once: Sequence[Any], every: Any) -> Marks:
    return Marks(tuple(number(value) for value in once), None if every is None else number(every))
