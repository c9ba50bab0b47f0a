import logging
import signal
import threading
from time import monotonic
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from django.db import connection

from apps.kernel.errors import DomainError
from apps.metering.eventlog import EventLog, event_log
from apps.metering.services.consuming import consume, forget_blocks
from apps.metering.tasks import merge_all

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
CALL_SECONDS = 0.1
FORGET_SECONDS = 60.0


class Command(BaseCommand):
    help = (
        "Carry events from the event log (EVENT_LOG_URL) to staging until a signal ends it. Run as many as you like."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--shards", default="", help="only these, as in 0,2; default all")

    def handle(self, *args: Any, **options: Any) -> None:
        log = event_log()
        if not log.shards:
            raise CommandError("EVENT_LOG_URL is not set: events are in staging as soon as they are accepted.")
        try:
            shards = [int(part) for part in options["shards"].split(",") if part.strip()] or list(log.shards)
        except ValueError:
            raise CommandError("--shards takes numbers separated by commas, as in 0,2.") from None
        unknown = sorted(set(shards) - set(log.shards))
        if unknown:
            raise CommandError(f"There are only shards 0 to {len(log.shards) - 1} (EVENT_LOG_SHARDS).")
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        bell = _Bell()
        threads = [threading.Thread(target=self._run, args=(log, shard, bell, ended)) for shard in shards]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.close()

    def _run(self, log: EventLog, shard: int, bell: "_Bell", ended: threading.Event) -> None:
        forget_at = monotonic() + FORGET_SECONDS
        while not ended.is_set():
            try:
                if consume(log=log, shard=shard):
                    bell.ring()
                if monotonic() > forget_at:
                    forget_blocks(log=log, shard=shard)
                    forget_at = monotonic() + FORGET_SECONDS
            except (DomainError, DatabaseError) as error:
                # The log or the database is away; whatever was read comes again.
                logger.warning("shard %s: %s", shard, error)
                connection.close()
                ended.wait(RETRY_SECONDS)
            except Exception:
                # Whatever it is: a thread that ends would leave its shard unread.
                logger.exception("shard %s cannot be read", shard)
                connection.close()
                ended.wait(RETRY_SECONDS)
        connection.close()


class _Bell:
    """Calls the merger, seldom; the sweep finds what a lost message left."""

    def __init__(self) -> None:
        self.next = 0.0

    def ring(self) -> None:
        if monotonic() < self.next:
            return
        self.next = monotonic() + CALL_SECONDS
        try:
            merge_all.apply_async(expires=10, retry=False)
        except Exception:
            return
