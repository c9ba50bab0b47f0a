"""Windows rebuilt from the events themselves, while merges go on."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from apps.kernel.clock import wall_now
from apps.metering.services.recompute_sql import LOCK, REBUILD


@dataclass(frozen=True, slots=True)
class WindowKey:
    """Names a window: usage of a metric by a subject in one UTC hour, in one group (None without groups)."""

    organization_id: int
    metric_id: int
    subject_id: int
    hour: datetime
    dimension_id: int | None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How many windows have events, and how many had none and vanished."""

    kept: int = 0
    vanished: int = 0


@transaction.atomic
def recompute_windows(*, windows: Collection[WindowKey]) -> Rebuilt:
    """Make windows what their events say, with their distinct values; those without events vanish.

    Safe beside merges and beside itself: the windows' rows are locked first, and the events are read by a later
    statement. In a longer transaction of the caller's the locks are held until its end.
    """
    wanted = set(windows)
    if not wanted:
        return Rebuilt()
    values: dict[str, Any] = {
        "organizations": [window.organization_id for window in wanted],
        "metrics": [window.metric_id for window in wanted],
        "subjects": [window.subject_id for window in wanted],
        "hours": [window.hour for window in wanted],
        "dimensions": [window.dimension_id for window in wanted],
        # The moment by which invoicing notices a change, so it is the clock's, whoever calls.
        "now": wall_now(),
    }
    with connection.cursor() as cursor:
        cursor.execute(LOCK, values)
        cursor.execute(REBUILD, values)
        kept, vanished = cursor.fetchone()
    return Rebuilt(kept, vanished)
