"""May this customer use so much of that now? Answers for many questions at once, and units held until used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal

from django.db import transaction

from apps.entitlements.domain.access import has_room
from apps.entitlements.domain.grants import ZERO
from apps.entitlements.models import Entitlement, Reservation, ReservationStatus
from apps.entitlements.selectors.asking import Asked, Right, find_rights
from apps.entitlements.selectors.entitlements import held_units
from apps.entitlements.selectors.histories import History, histories
from apps.entitlements.selectors.pools import costs_of
from apps.entitlements.selectors.slots import Room, rooms_of
from apps.kernel.errors import ConflictError
from apps.kernel.money import EXACT


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody is about to use.

    Attributes:
        quantity: units; 0 asks for access alone.
        hold: for how long to set the units aside; None only asks.
        key: makes a repeated question find the reservation it made.
    """

    asked: Asked
    quantity: Decimal = ZERO
    hold: timedelta | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a question.

    Attributes:
        reason: why not; empty when allowed.
        history: balance, usage and overage; None without a right.
        held: units that reservations hold, this one's among them.
        cost: units that the use would take: what was asked for, or the credits of a pool that it draws.
        room: of a feature with slots, how many may be held and are.
    """

    is_allowed: bool
    reason: str
    history: History | None = None
    held: Decimal = ZERO
    cost: Decimal = ZERO
    reservation: Reservation | None = None
    room: Room | None = None


SMALLEST = Decimal("1e-9")
NO_RIGHT, NOTHING_LEFT = "not_entitled", "limit_reached"


def check(*, organization_id: int, questions: Sequence[Question], ahead: timedelta) -> list[Verdict]:
    """Answer questions, setting units aside where asked; n questions in, n verdicts out, same order.

    Where units are set aside the rights are locked, in one order, until the transaction ends: whoever asks at the
    same time sees what the others hold, so that a hard limit is never passed.

    Raises:
        ConflictError: a key made a reservation of another quantity.
    """
    if any(question.hold is not None for question in questions):
        with transaction.atomic():
            return _check(organization_id, questions, ahead)
    return _check(organization_id, questions, ahead)


def _check(organization_id: int, questions: Sequence[Question], ahead: timedelta) -> list[Verdict]:
    rights = find_rights(organization_id=organization_id, asked=[question.asked for question in questions])
    held_for = {
        right.entitlement.drawn_id
        for question, right in zip(questions, rights, strict=True)
        if right is not None and question.hold is not None and right.entitlement.is_metered
    }
    # In the order of their keys, so that two calls cannot wait for each other.
    list(Entitlement.objects.select_for_update(no_key=True).filter(pk__in=held_for).order_by("pk").values_list("pk"))
    known = {right.entitlement.pk: right for right in rights if right is not None}
    past = histories([(right.entitlement, right.at) for right in known.values()], ahead=ahead)
    rooms = rooms_of(
        (right.entitlement for right in known.values()), at={pk: right.at for pk, right in known.items()}
    )
    present = {right.entitlement.drawn_id: right.at for right in known.values()}
    held = held_units(present, at=present)
    costs = _costs(questions, rights, ahead)
    return [
        Verdict(False, NO_RIGHT)
        if right is None
        else _verdict(question, right, past[right.entitlement.pk], cost, held, rooms)
        for question, right, cost in zip(questions, rights, costs, strict=True)
    ]


def _costs(questions: Sequence[Question], rights: Sequence[Right | None], ahead: timedelta) -> list[Decimal]:
    """Give the units that each use would take; those of a pool are credits."""
    costs = [question.quantity for question in questions]
    in_credits = {
        n: (right.entitlement, right.at, costs[n])
        for n, right in enumerate(rights)
        if right is not None and right.entitlement.pool_id is not None and costs[n]
    }
    found = costs_of(list(in_credits.values()), ahead=ahead)
    # As precise as what is held can be written down, and never less than the use takes.
    for n, cost in zip(in_credits, found, strict=True):
        costs[n] = cost.quantize(SMALLEST, rounding=ROUND_UP, context=EXACT)
    return costs


def _verdict(
    question: Question,
    right: Right,
    history: History,
    cost: Decimal,
    held: dict[int, Decimal],
    rooms: Mapping[int, Room],
) -> Verdict:
    row = right.entitlement
    if not row.is_metered:
        room = rooms.get(row.pk)
        # What is held now is for who acquires it; asking for none asks for one.
        is_free = room is None or room.free >= max(question.quantity, Decimal(1))
        return Verdict(is_free, "" if is_free else NOTHING_LEFT, history, room=room)
    reserved = held.get(row.drawn_id, ZERO)
    known = _find_reservation(question, right)
    if known is not None:
        return Verdict(True, "", history, reserved, cost, known)
    if not has_room(balance=history.state.balance, held=reserved, quantity=cost, is_soft=row.is_soft_limit):
        return Verdict(False, NOTHING_LEFT, history, reserved, cost)
    if question.hold is None or not cost:
        return Verdict(True, "", history, reserved, cost)
    made = Reservation.objects.create(
        organization_id=row.organization_id,
        entitlement_id=row.drawn_id,
        quantity=cost,
        asked_quantity=question.quantity if row.pool_id is not None else None,
        made_at=right.at,
        expires_at=right.at + question.hold,
        idempotency_key=question.key,
    )
    # Later questions of the same call see it.
    held[row.drawn_id] = EXACT.add(reserved, cost)
    return Verdict(True, "", history, held[row.drawn_id], cost, made)


def _find_reservation(question: Question, right: Right) -> Reservation | None:
    if question.hold is None or not question.key:
        return None
    drawn_id = right.entitlement.drawn_id
    known = Reservation.objects.filter(entitlement_id=drawn_id, idempotency_key=question.key).first()
    if known is not None and (known.asked_quantity or known.quantity) != question.quantity:
        raise ConflictError(
            "This idempotency key belongs to another reservation; use a new key.", code="IDEMPOTENCY_KEY_REUSED"
        )
    return known


@transaction.atomic
def end_reservation(*, reservation_id: int, status: ReservationStatus, as_of: datetime) -> Reservation:
    """Settle a reservation, because its use is counted now, or release it unused. The same end twice is fine.

    Raises:
        ConflictError: it ended the other way, or it expired before it was settled.
    """
    row = Reservation.objects.select_for_update(of=("self",)).select_related("entitlement").get(pk=reservation_id)
    if row.status == status:
        return row
    if row.status != ReservationStatus.HELD:
        raise ConflictError(f"The reservation is already {row.status}.", code="RESERVATION_ENDED")
    if status == ReservationStatus.SETTLED and row.expires_at <= as_of:
        raise ConflictError(
            "The reservation expired before it was settled; its units were free again. The use itself is counted.",
            code="RESERVATION_EXPIRED",
        )
    row.status, row.ended_at = status, as_of
    row.save(update_fields=["status", "ended_at", "updated_at"])
    return row
