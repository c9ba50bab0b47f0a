"""What a store of raw events must be able to do."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol

from apps.kernel.errors import UnavailableError

# Columns that every driver gives, in this order; those of `metering_event`.
COLUMNS = (
    "id, public_id, organization_id, idempotency_key, event_type, source, subject_id, external_id, occurred_at,"
    " accepted_at, data, metrics, dimensions, quantities, hashes"
)


class StoreUnavailableError(UnavailableError):
    """Raw events cannot be read right now; whole hours, which are windows, still can."""

    default_code = "EVENT_STORE_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Span:
    """Events of a merchant in `[start, end)`.

    Attributes:
        subjects: only these; None means everybody.
        event_types: only these; None means any.
    """

    organization_id: int
    start: datetime
    end: datetime
    subjects: Sequence[int] | None = None
    event_types: Sequence[str] | None = None


class EventStore(Protocol):
    """Answers like `metering_event` would, whoever keeps the events."""

    CODE: ClassVar[str]

    @property
    def is_relayed(self) -> bool:
        """Whether events come to the store by the relay, rather than by the merge itself."""
        ...

    def events_in(self, spans: Iterable[Span]) -> AbstractContextManager[str]:
        """Give what to select from, with the columns of COLUMNS: it holds at least the spans' events, each once.

        It can be used on this connection until the context ends.

        Raises:
            StoreUnavailableError: the store cannot be asked.
        """
        ...

    def prepare(self) -> None:
        """Make the store's tables where they are missing."""
        ...

    def write(self, rows: bytes) -> None:
        """Store rows as the relay selects them; the same row again changes nothing, a newer version replaces.

        Raises:
            StoreUnavailableError: nothing is known to be stored.
        """
        ...
