"""Questions that were read, asked and answered in the wire's form, whoever received them."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from apps.entitlements.api.shapes import plain, render_reservation, unit_id_of
from apps.entitlements.selectors.asking import Asked
from apps.entitlements.services.checking import Question, Verdict, check
from apps.metering.services.catching_up import catch_up

# How a body names what `Asked` holds, in its order.
NAMES = ("customerId", "externalCustomerId", "featureId", "featureKey", "productId", "pricingUnitId")


def answer_questions(organization_id: int, rows: Sequence[dict[str, Any]], *, is_consistent: bool) -> dict[str, Any]:
    """Answer valid questions.

    Raises:
        ConflictError: a key made another reservation.
        UnavailableError: what was accepted before is not counted in time, where the caller wants that.
    """
    if is_consistent:
        catch_up(organization_id=organization_id)
    found = check(organization_id=organization_id, questions=[_question(row) for row in rows])
    return {"object": "list", "data": [_answer(n, verdict) for n, verdict in enumerate(found)]}


def _question(row: dict[str, Any]) -> Question:
    hold = row.get("reserveSeconds")
    return Question(
        asked=Asked(*(row.get(name) for name in NAMES)),
        quantity=row.get("quantity", Decimal(0)),
        hold=None if hold is None else timedelta(seconds=hold),
        key=row.get("idempotencyKey", ""),
    )


def _answer(index: int, verdict: Verdict) -> dict[str, Any]:
    standing = verdict.standing
    body: dict[str, Any] = {
        "index": index,
        "allowed": verdict.is_allowed,
        "reason": verdict.reason or None,
        "entitlementId": None,
        "config": None,
        "balance": None,
        "held": None,
        "available": None,
        "overage": None,
        "pricingUnitId": None,
        "cost": None,
        "reservation": None,
    }
    if standing is None:
        return body
    row = standing.entitlement
    body |= {"entitlementId": row.public_id, "config": row.config}
    if row.is_metered:
        body |= {
            "balance": plain(standing.balance),
            "held": plain(verdict.held),
            "available": plain(max(standing.balance - verdict.held, Decimal(0))),
            "overage": plain(standing.overage),
            "pricingUnitId": unit_id_of(row),
            "cost": plain(verdict.cost),
        }
    if verdict.room is not None:
        room = verdict.room
        body |= {"balance": room.limit, "held": room.held, "available": room.free}
    if verdict.reservation is not None:
        body["reservation"] = render_reservation(verdict.reservation, standing.at)
    return body
