"""Read your writes: wait until everything that was accepted before is counted."""

import threading
from time import monotonic, sleep

from django.db import connection

# Waiting holds a connection and a thread of the web server, so only few calls of a process may do it at a time.
AT_A_TIME = 8
# Published clients give up after five seconds.
WAIT_SECONDS = 3.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.005, 0.1

_waiting = threading.BoundedSemaphore(AT_A_TIME)


def wait_until_counted(*, organization_id: int, seconds: float = WAIT_SECONDS) -> bool:
    """Wait until all that a merchant's events were answered 202 for before the call is in the windows.

    It waits for the rows that are visible in the snapshot taken now, known by the transaction that wrote them:
    numbers of a sequence do not follow the order of commits, and rows that come meanwhile are not waited for.

    Returns:
        False when it takes longer than `seconds`, or too many wait already; the caller should ask again.
    """
    end = monotonic() + seconds
    snapshot = _snapshot()
    if not _is_behind(organization_id, snapshot):
        return True
    if not _waiting.acquire(blocking=False):
        return False
    try:
        pause = FIRST_PAUSE_SECONDS
        while _is_behind(organization_id, snapshot):
            if monotonic() + pause > end:
                return False
            sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return True
    finally:
        _waiting.release()


def _snapshot() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_snapshot()::text")
        return str(cursor.fetchone()[0])


def _is_behind(organization_id: int, snapshot: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM metering_stagedevent"
            " WHERE organization_id = %s AND pg_visible_in_snapshot(xid, %s::pg_snapshot))",
            [organization_id, snapshot],
        )
        return bool(cursor.fetchone()[0])
