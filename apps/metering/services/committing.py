"""Single events of many requests share a commit: whoever commits next takes all that wait."""

import threading
from collections.abc import Sequence
from datetime import datetime

from django.db import DataError, IntegrityError, connection

from apps.metering.domain.drafts import EventDraft
from apps.metering.services.staging import COPY, staged_rows


class _Waiting:
    __slots__ = ("error", "is_done", "rows")

    def __init__(self, rows: bytes) -> None:
        self.rows = rows
        self.is_done = False
        self.error: Exception | None = None


_waiting: list[_Waiting] = []
_list_lock = threading.Lock()
_turn = threading.Lock()


def stage_together(draft: EventDraft, *, organization_id: int, as_of: datetime) -> None:
    """Commit one draft to staging, in one transaction with those of other threads that wait at this moment."""
    mine = _Waiting(staged_rows([draft], organization_id=organization_id, as_of=as_of))
    with _list_lock:
        _waiting.append(mine)
    with _turn:
        # Somebody whose turn came earlier may have taken it along.
        if not mine.is_done:
            with _list_lock:
                taken = _waiting[:]
                _waiting.clear()
            _commit(taken)
    if mine.error is not None:
        raise mine.error


def _commit(taken: Sequence[_Waiting]) -> None:
    try:
        _write(b"".join([entry.rows for entry in taken]))
    except (DataError, IntegrityError):
        # One of them is bad: alone, each gets its own answer.
        for entry in taken:
            try:
                _write(entry.rows)
            except Exception as error:
                entry.error = error
    except Exception as error:
        for entry in taken:
            entry.error = error
    for entry in taken:
        entry.is_done = True


def _write(rows: bytes) -> None:
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        copy.write(rows)
