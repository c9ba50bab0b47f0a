"""How the event path is doing: figures for those who look after the installation."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

# Counting stops here; more is simply too many.
MOST = 5_000_000


@dataclass(frozen=True, slots=True)
class Staging:
    """What waits to be merged: how many events, and how long the oldest has waited."""

    events: int
    lag: timedelta


def staging_at(as_of: datetime) -> Staging:
    """Give what waits to be merged; counted up to `MOST`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), min(accepted_at) FROM (SELECT accepted_at FROM metering_stagedevent LIMIT %s) AS s",
            [MOST],
        )
        count, oldest = cursor.fetchone()
    return Staging(count, max(as_of - oldest, timedelta(0)) if oldest is not None else timedelta(0))
