"""What a process knows of the database carries it over a short outage, where nothing has to be written there."""

from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

T = TypeVar("T")

# For so long what was true when it was last read is taken to be true still.
OUTAGE_SECONDS = 60.0
# A database that does not answer is not asked again sooner.
ASK_AGAIN_SECONDS = 1.0

_ask_at = 0.0


def read_or_recall(read: Callable[[], T | None], *, last: T | None, expired_at: float) -> tuple[T | None, bool]:
    """Read from the database, or give what was known when the database is away.

    Args:
        read: asks the database.
        last: what is remembered; None when nothing is.
        expired_at: monotonic moment at which `last` had to be read again.

    Returns:
        The value, and whether it was read just now.

    Raises:
        OperationalError, InterfaceError: the database is away and nothing usable is remembered.
    """
    global _ask_at
    now = monotonic()
    if last is None or connection.in_atomic_block or now > expired_at + OUTAGE_SECONDS:
        return read(), True
    if now < _ask_at:
        return last, False
    for _ in range(2):
        try:
            return read(), True
        except (OperationalError, InterfaceError):
            # It may be this connection alone that broke: the second time it is a new one.
            connection.close()
    _ask_at = monotonic() + ASK_AGAIN_SECONDS
    return last, False
