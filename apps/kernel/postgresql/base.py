"""Django's PostgreSQL backend, with a look at the connection that costs no round trip."""

from select import POLLIN, poll
from time import monotonic

from django.db.backends.postgresql import base

# A connection that was idle longer is asked: something between here and the server may have forgotten it silently.
TRUSTED_SECONDS = 5.0


class DatabaseWrapper(base.DatabaseWrapper):
    """Asks a connection whether it works only when there is a reason to doubt it.

    Django does so before the first query of every request. A server that stops or ends a session closes the socket or
    writes to it, so a socket with nothing to read, used a moment ago, says as much as the answer to a query would.
    """

    _looked_at = 0.0

    def is_usable(self) -> bool:
        """Tell whether queries can be sent."""
        now = monotonic()
        is_recent = now - self._looked_at < TRUSTED_SECONDS
        self._looked_at = now
        if is_recent and not self.errors_occurred and self._is_silent():
            return True
        return bool(super().is_usable())

    def _is_silent(self) -> bool:
        if self.connection is None or self.connection.closed:
            return False
        waiting = poll()
        waiting.register(self.connection.pgconn.socket, POLLIN)
        return not waiting.poll(0)
