"""May this customer use so much of that now? Answers for many questions at once, and units held until used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal

from django.db import transaction

from apps.entitlements.domain.access import has_room
from apps.entitlements.domain.grants import ZERO
from apps.entitlements.models import Entitlement, Reservation, ReservationStatus
from apps.entitlements.selectors.asking import Asked
from apps.entitlements.selectors.carrying import Standing
from apps.entitlements.selectors.histories import ahead_of
from apps.entitlements.selectors.pools import costs_of
from apps.entitlements.selectors.slots import Room, rooms_of
from apps.entitlements.selectors.standings import find_kept_keys, standings
from apps.kernel.errors import ConflictError
from apps.kernel.ids import new_id
from apps.kernel.money import EXACT


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody is about to use.

    Attributes:
        quantity: units, or credits where a pool is asked itself; 0 asks for access alone.
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
        standing: the right with balance and overage; None without one.
        held: units that reservations hold, this one's among them.
        cost: units that the use would take: what was asked for, or the credits of a pool that it draws.
        room: of a feature with slots, how many may be held and are.
    """

    is_allowed: bool
    reason: str
    standing: Standing | None = None
    held: Decimal = ZERO
    cost: Decimal = ZERO
    reservation: Reservation | None = None
    room: Room | None = None


SMALLEST = Decimal("1e-9")
NO_RIGHT, NOTHING_LEFT = "not_entitled", "limit_reached"


def check(*, organization_id: int, questions: Sequence[Question]) -> list[Verdict]:
    """Answer questions, setting units aside where asked; n questions in, n verdicts out, same order.

    Where units are set aside the rights are locked, in one order, until the transaction ends: whoever asks at the
    same time sees what the others hold, so that a hard limit is never passed.

    Raises:
        ConflictError: a key made a reservation of another quantity, or one that is over.
    """
    asked = [question.asked for question in questions]
    holding = [question.asked for question in questions if question.hold is not None]
    if not holding:
        return _Answers(standings(organization_id=organization_id, asked=asked)).give(questions)
    # Under the lock, which is a write, nothing new can be kept: so whatever is not kept yet is read once before.
    pks = find_kept_keys(organization_id=organization_id, asked=holding)
    if pks is None:
        pks = _keys(standings(organization_id=organization_id, asked=holding))
    while True:
        with transaction.atomic():
            # In the order of their keys, so that two calls cannot wait for each other.
            rows = Entitlement.objects.select_for_update(no_key=True).filter(pk__in=pks).order_by("pk")
            list(rows.values_list("pk"))
            found = standings(organization_id=organization_id, asked=asked)
            needed = _keys(one for one, question in zip(found, questions, strict=True) if question.hold is not None)
            if needed <= pks:
                return _Answers(found).give(questions)
        # Another right took its place meanwhile.
        pks = needed


def _keys(found: Iterable[Standing | None]) -> set[int]:
    """Give the keys of where units come from: rights, or the pools that they show."""
    return {one.entitlement.drawn_id for one in found if one is not None}


def _costs(questions: Sequence[Question], found: Sequence[Standing | None]) -> list[Decimal]:
    """Give the units that each use would take; those of a pool are credits."""
    costs = [question.quantity for question in questions]
    in_credits = {
        n: (one.entitlement, one.at, costs[n])
        for n, one in enumerate(found)
        if one is not None and one.entitlement.pool_id is not None and costs[n]
    }
    if not in_credits:
        return costs
    ahead = ahead_of([row for row, _, _ in in_credits.values()])
    # As precise as what is held can be written down, and never less than the use takes.
    for n, cost in zip(in_credits, costs_of(list(in_credits.values()), ahead=ahead), strict=True):
        costs[n] = cost.quantize(SMALLEST, rounding=ROUND_UP, context=EXACT)
    return costs


class _Answers:
    """Answers the questions of one call one after the other: the later ones see what the earlier ones set aside."""

    def __init__(self, found: Sequence[Standing | None]) -> None:
        self._found = found
        rights = {one.entitlement.pk: one for one in found if one is not None}
        # Rights that show the same pool share what is held of it.
        self._held = {one.entitlement.drawn_id: one.held for one in rights.values()}
        self._rooms = rooms_of(
            (one.entitlement for one in rights.values()), at={pk: one.at for pk, one in rights.items()}
        )
        self._known: dict[tuple[int, str], Reservation] = {}
        self._made: list[Reservation] = []

    def give(self, questions: Sequence[Question]) -> list[Verdict]:
        """Answer, and store what was set aside."""
        keys = {question.key for question in questions if question.hold is not None and question.key}
        if keys:
            rows = Reservation.objects.filter(entitlement__in=self._held, idempotency_key__in=keys)
            self._known = {(row.entitlement_id, row.idempotency_key): row for row in rows}
        costs = _costs(questions, self._found)
        verdicts = [self._verdict(*each) for each in zip(questions, self._found, costs, strict=True)]
        if self._made:
            Reservation.objects.bulk_create(self._made)
        return verdicts

    def _verdict(self, question: Question, standing: Standing | None, cost: Decimal) -> Verdict:
        if standing is None:
            return Verdict(False, NO_RIGHT)
        row = standing.entitlement
        if not row.is_metered:
            room = self._rooms.get(row.pk)
            # What is held now is for who acquires it; asking for none asks for one.
            is_free = room is None or room.free >= max(question.quantity, Decimal(1))
            return Verdict(is_free, "" if is_free else NOTHING_LEFT, standing, room=room)
        held = self._held[row.drawn_id]
        known = self._find_known(question, row, standing.at)
        if known is not None:
            return Verdict(True, "", standing, held, cost, known)
        if not has_room(balance=standing.balance, held=held, quantity=cost, is_soft=row.is_soft_limit):
            return Verdict(False, NOTHING_LEFT, standing, held, cost)
        if question.hold is None or not cost:
            return Verdict(True, "", standing, held, cost)
        made = Reservation(
            public_id=new_id(Reservation.PREFIX),
            organization_id=row.organization_id,
            entitlement_id=row.drawn_id,
            quantity=cost,
            asked_quantity=question.quantity if row.pool_id is not None else None,
            made_at=standing.at,
            expires_at=standing.at + question.hold,
            idempotency_key=question.key,
        )
        self._made.append(made)
        if question.key:
            self._known[row.drawn_id, question.key] = made
        self._held[row.drawn_id] = EXACT.add(held, cost)
        return Verdict(True, "", standing, self._held[row.drawn_id], cost, made)

    def _find_known(self, question: Question, row: Entitlement, at: datetime) -> Reservation | None:
        if question.hold is None or not question.key:
            return None
        known = self._known.get((row.drawn_id, question.key))
        # Of a pool, a use of a feature and credits themselves are different questions, also where they are as many.
        is_use = row.pool_id is not None
        if known is not None and (
            (known.asked_quantity is not None) != is_use
            or (known.asked_quantity if is_use else known.quantity) != question.quantity
        ):
            raise ConflictError(
                "This idempotency key belongs to another reservation; use a new key.", code="IDEMPOTENCY_KEY_REUSED"
            )
        if known is not None and not known.is_held_at(at):
            # Whoever took it for an answer of now would use what nothing holds.
            raise ConflictError(
                "The reservation of this idempotency key is over; use a new key.", code="RESERVATION_ENDED"
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
