"""What a web process may still take: the rate of a key, and how much waits to be merged.

Requests only compare numbers in memory. One thread a process carries these numbers: it tells the broker what came
in, hears what other processes took, and looks how long staging is. Without a broker each process keeps its own rates.
"""

import logging
import threading
from collections import defaultdict
from time import monotonic, sleep

import redis
from django.conf import settings
from django.db import DatabaseError, connection

from apps.kernel.broker import broker
from apps.kernel.clock import wall_now
from apps.kernel.errors import RateLimitedError, UnavailableError
from apps.metering.selectors.flow import COUNTERS, may_wait, waiting_events

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.2
# Looking at staging may take this share of a beat's time at most, however long staging is.
LOOK_EVERY_SECONDS, LOOK_SHARE = 1.0, 20
RETRY_SECONDS = 5


class Pressure:
    """The numbers of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._second = 0
        # Of this second, by key: what this process took, what of it the broker knows, and what others took.
        self._taken: dict[int, int] = defaultdict(int)
        self._told: dict[int, int] = defaultdict(int)
        self._elsewhere: dict[int, int] = {}
        self._counted: dict[str, int] = defaultdict(int)
        self._waiting = 0
        self._look_at = 0.0
        self._is_alone = False

    def admit(self, *, key_id: int, events: int) -> None:
        """Let a key's events in, or say why not.

        Raises:
            RateLimitedError: the key sent its share of this second; a second's first call is never too large.
            UnavailableError: too much waits to be merged; nothing was taken.
        """
        if self._waiting > settings.INGEST_STAGED_LIMIT:
            self.count("refused_backlog", events)
            raise UnavailableError(
                "Too many events wait to be counted; send these again later.", retry_after_seconds=RETRY_SECONDS
            )
        with self._lock:
            self._turn()
            before = self._taken[key_id] + self._elsewhere.get(key_id, 0)
            fits = before == 0 or before + events <= settings.INGEST_KEY_RATE
            if fits:
                self._taken[key_id] += events
        if not fits:
            self.count("refused_rate", events)
            raise RateLimitedError(
                f"This key may send {settings.INGEST_KEY_RATE} events a second; wait and send these again."
            )

    def count(self, kind: str, events: int) -> None:
        """Add to what is exported."""
        if events:
            with self._lock:
                self._counted[kind] += events

    def beat(self) -> None:
        """Exchange numbers with the broker and look at staging when it is time."""
        with self._lock:
            self._turn()
            second, counted, self._counted = self._second, self._counted, defaultdict(int)
            news = {key: taken - self._told[key] for key, taken in self._taken.items()}
        try:
            with broker().pipeline(transaction=False) as pipe:
                for kind, events in counted.items():
                    pipe.hincrby(COUNTERS, kind, events)
                for key, events in news.items():
                    pipe.incrby(f"rate:events:{key}:{second}", events)
                    pipe.expire(f"rate:events:{key}:{second}", 5)
                answers = pipe.execute()
            self._is_alone = False
        except redis.RedisError as error:
            if not self._is_alone:
                logger.warning("rates are kept by each process alone while the broker is away: %s", error)
            self._is_alone = True
            with self._lock:
                for kind, events in counted.items():
                    self._counted[kind] += events
        else:
            totals = answers[len(counted) :: 2]
            with self._lock:
                if self._second == second:
                    for (key, events), total in zip(news.items(), totals, strict=True):
                        self._told[key] += events
                        self._elsewhere[key] = int(total) - self._told[key]
        if monotonic() >= self._look_at:
            self._look()

    def _look(self) -> None:
        began = monotonic()
        try:
            most = settings.INGEST_STAGED_LIMIT + 1
            # Counting reads all that waits, so it is left until there may be too much.
            self._waiting = waiting_events(at_most=most).count if may_wait(most) else 0
        except DatabaseError as error:
            # Taking events fails by itself then; what was known before says nothing about later.
            logger.warning("staging cannot be looked at: %s", error)
            connection.close()
            self._waiting = 0
        ended = monotonic()
        self._look_at = ended + max(LOOK_EVERY_SECONDS, LOOK_SHARE * (ended - began))

    def _turn(self) -> None:
        second = int(wall_now().timestamp())
        if second != self._second:
            self._second = second
            self._taken.clear()
            self._told.clear()
            self._elsewhere.clear()


pressure = Pressure()
_started = threading.Lock()
_thread: threading.Thread | None = None


def keep_pressure() -> None:
    """Start the thread that carries the numbers of this process; twice is fine."""
    global _thread
    if _thread is not None and _thread.is_alive():
        return
    with _started:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_beat_on, name="ingest-pressure", daemon=True)
            _thread.start()


def _beat_on() -> None:
    while True:
        try:
            pressure.beat()
        except Exception:  # the numbers of one beat are not worth the thread
            logger.exception("a beat of the ingest's numbers failed")
        sleep(BEAT_SECONDS)
