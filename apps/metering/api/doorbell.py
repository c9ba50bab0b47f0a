"""Tell the merger that events wait: seldom, and never in the way of the request that staged them."""

import logging
import threading
from time import sleep

from apps.metering.tasks import merge_all

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.1

_rung = threading.Event()
_started = threading.Lock()
_ringer: threading.Thread | None = None


def ring() -> None:
    """Ask for a merge soon; many calls become one message. A broker that is away costs the caller nothing."""
    global _ringer
    if _ringer is None or not _ringer.is_alive():
        with _started:
            if _ringer is None or not _ringer.is_alive():
                _ringer = threading.Thread(target=_ring_on, name="merge-doorbell", daemon=True)
                _ringer.start()
    _rung.set()


def _ring_on() -> None:
    while True:
        _rung.wait()
        _rung.clear()
        try:
            merge_all.apply_async(expires=10, retry=False)
        except Exception as error:  # the sweep finds what a lost bell left
            logger.warning("the merger could not be called: %s", error)
        sleep(PAUSE_SECONDS)
