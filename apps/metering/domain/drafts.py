"""An event on its way in: read, checked, and turned into what it counts for."""

from dataclasses import dataclass, field
from datetime import datetime

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


@dataclass(slots=True)
class EventDraft:
    """A well-formed event before it is written.

    Attributes:
        data: the event's data as JSON text, as it came.
        content: hash of all it says, to tell a repeat from another event under the same key.
        targets: what it counts towards, one entry per metric.
        quantities: how much, as text, in the same order.
        hashes: the hash of the raw value where the metric counts distinct ones, in the same order.
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
    idempotency_key: str
    external_id: str
    public_id: str
    targets: tuple[Target, ...] = ()
    quantities: list[str] = field(default_factory=list)
    hashes: list[str | None] = field(default_factory=list)
    ignored_by: list[tuple[str, str]] = field(default_factory=list)
