"""An event on its way in: read, checked, and turned into what it counts for."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

# Names and values of an event's dimensions, in the order of the names.
Group = tuple[tuple[str, ...], tuple[str, ...]]
# What an event counts towards: a metric's key, and its group (None without dimensions).
Target = tuple[int, Group | None]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an event is refused."""

    code: str
    field: str
    message: str


class Targets:
    """What an event counts towards, one object for all events that count towards the same.

    Attributes:
        pairs: one entry per metric.
        cells: the pairs as numbers in COPY's text, once these are known for good; None before.
    """

    __slots__ = ("cells", "pairs")

    def __init__(self, pairs: tuple[Target, ...]) -> None:
        self.pairs = pairs
        self.cells: str | None = None


class EventDraft(msgspec.Struct, gc=False):
    """A well-formed event before it is written.

    Attributes:
        data: the event's data as JSON text, as it came.
        content: hash of all it says, to tell a repeat from another event under the same key.
        moment: `occurred_at` as text that the database reads the same.
        is_plain: no text of it has a character that COPY would read as its own.
        targets: what it counts towards.
        quantities: how much, one number per target, separated by commas.
        hashes: where a metric counts distinct values, the hash of the raw value or NULL per target; None otherwise.
        ignored_by: public ids of metrics that cannot use it, with the reason.
    """

    event_type: str
    source: str
    subject: str
    is_external: bool
    external_subject: str
    data: str
    content: str
    occurred_at: datetime
    moment: str
    idempotency_key: str
    external_id: str
    public_id: str
    is_plain: bool
    targets: Targets
    quantities: str
    hashes: str | None
    ignored_by: tuple[tuple[str, str], ...]
