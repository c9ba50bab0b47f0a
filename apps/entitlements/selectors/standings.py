"""What is left of rights now: one query where their states are kept, the whole history where they are not."""

from collections.abc import Iterator, Sequence

from django.db import connection

from apps.entitlements.domain.grants import ZERO
from apps.entitlements.selectors.asking import Asked, find_rights
from apps.entitlements.selectors.carrying import Standing, carried
from apps.entitlements.selectors.entitlements import held_units
from apps.entitlements.selectors.histories import ahead_of, histories
from apps.entitlements.selectors.kept import Kept, Seen, find_keepable, keeping_at, memory
from apps.kernel.clock import wall_now
from apps.kernel.database import database_name
from apps.kernel.prepared import Read, read_prepared, shared
from apps.kernel.together import Together

# Questions answered by one statement for callers who ask at the same moment.
TOGETHER = 100

SEEN = """
SELECT pg_current_snapshot()::text, pg_snapshot_xmin(pg_current_snapshot())::text, now(),
       pg_current_xact_id_if_assigned() IS NOT NULL
"""


def standings(*, organization_id: int, asked: Sequence[Asked]) -> list[Standing | None]:
    """Give what is left of the right that each question is about; n questions in, n answers out, same order.

    None where the customer has none now.
    """
    database = database_name()
    wanted = list(dict.fromkeys(asked))
    kept = [(one, found) for one in wanted if (found := memory.find(database, organization_id, one)) is not None]
    # What a transaction has locked and written is for itself.
    carry = _carry_here if connection.in_atomic_block else _carried_together.answers
    answers: dict[Asked, Standing | None] = {}
    if kept:
        answers |= {
            one: standing for (one, _), standing in zip(kept, carry(kept), strict=True) if standing is not None
        }
    missing = [one for one in wanted if one not in answers]
    if missing:
        for one in missing:
            memory.forget(database, organization_id, one)
        for one, standing, keepable in _worked_out(organization_id, missing):
            answers[one] = standing
            if keepable is not None:
                memory.keep(database, organization_id, one, keepable)
    return [answers[one] for one in asked]


def _carry(kept: Sequence[tuple[Asked, Kept]], read: Read) -> list[Standing | None]:
    at = wall_now()
    usable = {n: one for n, one in enumerate(kept) if one[1].holds_at(at)}
    found: list[Standing | None] = [None] * len(kept)
    if usable:
        for n, standing in zip(usable, carried(list(usable.values()), at, read=read), strict=True):
            found[n] = standing
    return found


def _carry_here(kept: Sequence[tuple[Asked, Kept]]) -> list[Standing | None]:
    return _carry(kept, read_prepared)


def _carry_for_all(kept: Sequence[tuple[Asked, Kept]]) -> list[Standing | None]:
    return _carry(kept, shared.read)


_carried_together = Together(_carry_for_all, most=TOGETHER)


def find_kept_keys(*, organization_id: int, asked: Sequence[Asked]) -> set[int] | None:
    """Give the keys of the rights that questions were about; None when the process does not remember all of them."""
    database = database_name()
    kept = [memory.find(database, organization_id, one) for one in asked]
    return None if None in kept else {one.entitlement.pk for one in kept if one is not None}


def _worked_out(organization_id: int, asked: Sequence[Asked]) -> Iterator[tuple[Asked, Standing | None, Kept | None]]:
    """Go through the history of rights, and give beside what is left what can be kept of it."""
    seen = _seen()
    rights = find_rights(organization_id=organization_id, asked=asked)
    known = {right.entitlement.pk: right for right in rights if right is not None}
    past = histories(
        [(right.entitlement, right.at) for right in known.values()],
        ahead=ahead_of([right.entitlement for right in known.values()]),
        keep={pk: keeping_at(seen, right.at) for pk, right in known.items() if not right.is_simulated},
    )
    # Of a pool, all of it is held by whoever shows it.
    present = {history.entitlement.drawn_id: history.at for history in past.values()}
    held = held_units(present, at=present)
    for one, right in zip(asked, rights, strict=True):
        if right is None:
            yield one, None, None
            continue
        row, history = right.entitlement, past[right.entitlement.pk]
        state = history.state
        standing = Standing(row, right.at, state.balance, state.overage, held.get(row.drawn_id, ZERO))
        yield one, standing, None if right.is_simulated else find_keepable(history, seen)


def _seen() -> Seen:
    with connection.cursor() as cursor:
        cursor.execute(SEEN)
        return Seen(*cursor.fetchone())
