"""May this customer use so much of that now? Answers for many questions at once, and units held until used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from apps.entitlements.domain.access import has_room
from apps.entitlements.domain.grants import ZERO
from apps.entitlements.models import Entitlement, Reservation, ReservationStatus
from apps.entitlements.selectors.asking import Asked, Right, find_rights
from apps.entitlements.selectors.entitlements import held_units
from apps.entitlements.selectors.histories import History, histories
from apps.entitlements.selectors.slots import Room, rooms_of
from apps.kernel.errors import ConflictError


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
        room: of a feature with slots, how many may be held and are.
    """

    is_allowed: bool
    reason: str
    history: History | None = None
    held: Decimal = ZERO
    reservation: Reservation | None = None
    room: Room | None = None


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
        right.entitlement.pk
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
    held = held_units(past, at={key: right.at for key, right in known.items()})
    return [
        Verdict(False, NO_RIGHT)
        if right is None
        else _verdict(question, right, past[right.entitlement.pk], held, rooms)
        for question, right in zip(questions, rights, strict=True)
    ]


def _verdict(
    question: Question, right: Right, history: History, held: dict[int, Decimal], rooms: Mapping[int, Room]
) -> Verdict:
    row = right.entitlement
    if not row.is_metered:
        room = rooms.get(row.pk)
        # What is held now is for who acquires it; asking for none asks for one.
        is_free = room is None or room.free >= max(question.quantity, Decimal(1))
        return Verdict(is_free, "" if is_free else NOTHING_LEFT, history, room=room)
    reserved = held.get(row.pk, ZERO)
    known = _find_reservation(question, right)
    if known is not None:
        return Verdict(True, "", history, reserved, known)
    if not has_room(
        balance=history.state.balance, held=reserved, quantity=question.quantity, is_soft=row.is_soft_limit
    ):
        return Verdict(False, NOTHING_LEFT, history, reserved)
    if question.hold is None or not question.quantity:
        return Verdict(True, "", history, reserved)
    made = Reservation.objects.create(
        organization_id=row.organization_id,
        entitlement=row,
        quantity=question.quantity,
        made_at=right.at,
        expires_at=right.at + question.hold,
        idempotency_key=question.key,
    )
    # Later questions of the same call see it.
    held[row.pk] = reserved + question.quantity
    return Verdict(True, "", history, held[row.pk], made)


def _find_reservation(question: Question, right: Right) -> Reservation | None:
    if question.hold is None or not question.key:
        return None
    known = Reservation.objects.filter(entitlement=right.entitlement, idempotency_key=question.key).first()
    if known is not None and known.quantity != question.quantity:
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
