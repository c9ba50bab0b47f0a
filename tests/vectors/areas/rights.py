"""Grants, access and burn order, by the engine of entitlements."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from apps.entitlements.domain.access import has_balance, is_in_force
from apps.entitlements.domain.engine import State, run_history, total
from apps.entitlements.domain.grants import Calendar, Grant, burn_order
from apps.entitlements.domain.resets import ManualReset, Reset, ResetError, Schedule
from apps.kernel.time import Cadence, parse_instant
from tests.vectors.areas.common import Skip, number

LONG_AGO = parse_instant("2000-01-01T00:00:00Z")
# CREDIT-002 and 003 go by the grants of CREDIT-001.
CREDITS = (
    {"id": "A", "priority": 1, "expires": "2025-09-01", "category": "paid", "balance": 50},
    {"id": "B", "priority": 1, "expires": "2025-09-01", "category": "promotional", "balance": 20},
    {"id": "C", "priority": 2, "expires": "2025-08-15", "category": "promotional", "balance": 100},
)


def grants(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "reset_at" in inputs:
        return _reset_by_hand(inputs)
    rows = [_grant(row) for row in inputs["grants"]]
    start, until = parse_instant(inputs["start"]), parse_instant(inputs["until"])
    full = {row.id: row.amount for row in rows if row.is_active_at(start)}
    balances = {key: number(left) for key, left in inputs.get("starting_balances", {}).items()}
    divisor = number(inputs.get("unit_divisor", 1))
    used = [(parse_instant(row["at"]), number(row["value"]) / divisor) for row in inputs["usage"]]
    found = run_history(
        rows,
        [Reset(parse_instant(at), bool(inputs.get("preserve_overage"))) for at in inputs.get("resets", ())],
        lambda a, z: total(amount for at, amount in used if a <= at < z),
        begin=State(start, {**full, **balances}, number(inputs.get("starting_overage", 0))),
        until=until,
    )
    state = found.state
    # The cases read a grant that ends with the history as it was until then; for us its end is the first moment
    # without it.
    left = {
        **state.balances,
        **{row.id: found.segments[-1].left.get(row.id, 0) for row in rows if row.ends_at == until},
    }
    wanted = case["expected"]
    answer: dict[str, Any] = {
        "overage": state.overage,
        "usage_in_period": state.usage,
        "total_grant_usage": found.covered,
        "balance_total": state.balance,
    }
    if "balances" in wanted:
        answer["balances"] = _as_wanted({row.id: left.get(row.id, 0) for row in rows}, wanted["balances"])
    if "segments" in wanted:
        answer["segments"] = [
            _as_wanted(
                {
                    "index": row["index"],
                    "usage": found.segments[row["index"]].usage,
                    "balance_at_start": found.segments[row["index"]].balance,
                    "overage_at_start": found.segments[row["index"]].overage_before,
                },
                row,
            )
            for row in wanted["segments"]
        ]
    return answer


def _reset_by_hand(inputs: dict[str, Any]) -> dict[str, Any]:
    """Ask the schedule of a right with a year's usage period whether a reset by hand fits in."""
    start = parse_instant(inputs["period_start"])
    made = ManualReset(parse_instant(inputs["last_reset"]), is_preserving=False)
    schedule = Schedule(start, Calendar(start, Cadence(months=12)), by_hand=(made,))
    try:
        at = schedule.instant_for(parse_instant(inputs["reset_at"]), now=parse_instant(inputs["now"]))
    except ResetError:
        return {"result": "reject"}
    return {"result": "reset", "at": at}


def entitlement_access(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "balance" in inputs:
        return {"has_access": has_balance(balance=number(inputs["balance"]), is_soft=inputs["soft_limit"])}
    instants = {name: parse_instant(inputs[name]) for name in ("active_from", "active_to", "at")}
    return {"has_access": is_in_force(**instants)}


def credit_order(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    rows = [
        Grant(
            row["id"],
            number(row["balance"]),
            row["priority"],
            LONG_AGO,
            expires_at=parse_instant(row["expires"]),
            is_paid=row["category"] == "paid",
        )
        for row in inputs.get("grants", CREDITS)
    ]
    if "debit" not in inputs:
        return {"order": [row.id for row in burn_order(rows)]}
    balances, uncovered = _burned(rows, number(inputs["debit"]))
    return {"balances": _as_wanted(balances, case["expected"]["balances"]), "uncovered": uncovered}


def wallet(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "inbound" not in inputs:
        raise Skip("a grant holds units; money paid ahead is the customer's balance, without wallets or top-up rules")
    rows = inputs["inbound"]
    kinds = {row.get("kind") for row in rows}
    if len(kinds) > 1 and any("age_rank" in row for row in rows):
        raise Skip("by the contract the older of two grants burns first, whether it was given or bought")
    made = [
        Grant(
            f"{n}",
            number(row["remaining_cents"]),
            row.get("priority", 0),
            LONG_AGO,
            created_at=LONG_AGO.replace(day=row.get("age_rank", 1)),
            is_paid=row["kind"] == "purchased",
        )
        for n, row in enumerate(rows)
    ]
    balances, _ = _burned(made, number(inputs["outbound_cents"]))
    return {"remaining_cents": [balances[row.id] for row in made]}


def _burned(rows: Sequence[Grant], amount: Decimal) -> tuple[dict[str, Decimal], Decimal]:
    begin = State(LONG_AGO, {row.id: row.amount for row in rows})
    state = run_history(rows, [], lambda a, z: amount, begin=begin, until=LONG_AGO.replace(day=2)).state
    return dict(state.balances), state.overage


def _grant(row: Mapping[str, Any]) -> Grant:
    again = row.get("recurrence")
    effective = parse_instant(row["effective_at"])
    return Grant(
        id=row["id"],
        amount=number(row["amount"]),
        priority=row["priority"],
        effective_at=effective,
        created_at=parse_instant(row["created_at"]) if "created_at" in row else None,
        expires_at=parse_instant(row["expires_at"]) if row.get("expires_at") else None,
        voided_at=parse_instant(row["deleted_at"]) if row.get("deleted_at") else None,
        recurrence=Calendar(parse_instant(again["anchor"]), Cadence.parse(again["interval"])) if again else None,
        rollover_min=number(row.get("rollover_min", 0)),
        rollover_max=number(row.get("rollover_max", 0)),
    )


def _as_wanted(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Give our figures in the types of the case, as numbers that are equal compare equal."""
    return {
        key: want if key in found and number(found[key]) == number(want) else found.get(key)
        for key, want in wanted.items()
    }
