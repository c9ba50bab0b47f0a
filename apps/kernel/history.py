"""What is kept of changes."""

from collections.abc import Sequence

import pghistory
import pgtrigger
from django.db import models


class _Change(pgtrigger.Condition):
    """Whether a row changed in more than what follows from time alone."""

    def __init__(self, silent: Sequence[str], unless: str) -> None:
        super().__init__("TRUE")
        self.silent, self.unless = silent, unless

    def resolve(self, model: type[models.Model]) -> str:
        changed: str = pgtrigger.AnyChange(exclude=list(self.silent)).resolve(model)
        return f"({changed}) AND NOT ({self.unless})" if self.unless else changed


def in_sets(*, silent: Sequence[str] = (), unless: str = "") -> tuple[pghistory.RowEvent, ...]:
    """Give what keeps each change by one insert for all rows that a statement writes.

    For what is written by the thousand; for others each row has its own.

    Args:
        silent: columns whose change alone is not kept: time moves them, and says so by an announcement.
        unless: which changes are not kept, in SQL on OLD and NEW; what they wrote is kept with the next one.
    """
    return (
        pghistory.InsertEvent(level=pghistory.Statement),
        pghistory.UpdateEvent(level=pghistory.Statement, condition=_Change(("updated_at", *silent), unless)),
    )
