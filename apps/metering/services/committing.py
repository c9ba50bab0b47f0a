"""Single events of many requests share a commit: one thread a process writes all that wait at the moment.

One connection a process writes, so the database keeps few backends busy and warm however many requests wait.
"""

import logging
import threading
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from django.db import DataError, IntegrityError, OperationalError, connection

from apps.metering.domain.drafts import EventDraft
from apps.metering.eventlog import STAGING, Block, EventLog, event_log
from apps.metering.services.staging import BUCKETS, COLUMNS, staged_rows

logger = logging.getLogger(__name__)

# A request that waited so long is told to send its event again; should it be stored after all, its key makes the
# repeat harmless.
PATIENCE_SECONDS = 20.0


class _Waiting:
    """An event's rows on their way; `turn` is released when `error` says what became of them."""

    __slots__ = ("error", "organization_id", "rows", "turn")

    def __init__(self, organization_id: int, rows: bytes) -> None:
        self.organization_id = organization_id
        self.rows = rows
        self.error: Exception | None = None
        self.turn = threading.Lock()
        self.turn.acquire()


_waiting: list[_Waiting] = []
_list_lock = threading.Lock()
_called = threading.Event()
_is_over = threading.Event()
_writer: threading.Thread | None = None


def stage_together(draft: EventDraft, *, organization_id: int, as_of: datetime) -> None:
    """Commit one draft to the event log, together with those of other requests that wait at this moment.

    Raises:
        OperationalError, LogUnavailableError: nothing is known to be stored.
    """
    rows = staged_rows([draft], organization_id=organization_id, as_of=as_of)
    mine = _Waiting(organization_id, rows)
    if connection.in_atomic_block:
        # Part of the caller's transaction, so nobody else may commit it.
        _write(STAGING, [mine])
        return
    with _list_lock:
        _waiting.append(mine)
        _start_writer()
    _called.set()
    if not mine.turn.acquire(timeout=PATIENCE_SECONDS):
        raise OperationalError("the event waited too long to be written")
    if mine.error is not None:
        raise mine.error


def _start_writer() -> None:
    global _writer
    if _writer is None or not _writer.is_alive() or _is_over.is_set():
        _is_over.clear()
        _writer = threading.Thread(target=_write_on, name="event-writer", daemon=True)
        _writer.start()


def let_go() -> None:
    """End the writer and its connection, as before a database is dropped; the next event starts another."""
    with _list_lock:
        writer = _writer
        _is_over.set()
    _called.set()
    if writer is not None:
        writer.join()


def _write_on() -> None:
    try:
        while True:
            _called.wait()
            _called.clear()
            with _list_lock:
                taken = _waiting[:]
                _waiting.clear()
            if taken:
                _commit(taken)
            elif _is_over.is_set():
                return
    finally:
        connection.close()


def _commit(taken: Sequence[_Waiting]) -> None:
    log = event_log()

    def shard(entry: _Waiting) -> int:
        return log.shard_of(entry.organization_id)

    for _, entries in groupby(sorted(taken, key=shard), shard):
        _commit_together(log, list(entries))


def _commit_together(log: EventLog, taken: Sequence[_Waiting]) -> None:
    try:
        _write(log, taken)
    except (DataError, IntegrityError):
        # One of them is bad: alone, each gets its own answer.
        for entry in taken:
            try:
                _write(log, [entry])
            except Exception as error:
                entry.error = error
    except Exception as error:
        logger.warning("%s events could not be written: %s", len(taken), error)
        connection.close()
        for entry in taken:
            entry.error = error
    for entry in taken:
        entry.turn.release()


def _write(log: EventLog, entries: Sequence[_Waiting]) -> None:
    rows = b"".join([entry.rows for entry in entries])
    log.append(Block(entries[0].organization_id, COLUMNS, BUCKETS, rows))
