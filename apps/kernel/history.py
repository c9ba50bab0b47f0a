"""What is kept of changes."""

import pghistory


def in_sets() -> tuple[pghistory.RowEvent, ...]:
    """Give what keeps each change by one insert for all rows that a statement writes.

    For what is written by the thousand; for others each row has its own.
    """
    return pghistory.InsertEvent(level=pghistory.Statement), pghistory.UpdateEvent(level=pghistory.Statement)
