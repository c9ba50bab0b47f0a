"""What a log of accepted events must be able to do."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from apps.kernel.errors import DomainError, UnavailableError
from apps.metering.models import DeadLetter

RETRY_SECONDS = 2


class LogUnavailableError(UnavailableError):
    """The log did not confirm; the events may be stored or not, and the same keys may be sent again."""

    default_code = "EVENT_LOG_UNAVAILABLE"


class EventTooLargeError(DomainError):
    """One event is larger than the log's largest message."""

    status = 413
    error = "payload_too_large"
    default_code = "EVENT_TOO_LARGE"


@dataclass(frozen=True, slots=True)
class Block:
    """The events of one call, or of several calls that share a commit.

    Attributes:
        organization_id: routes it: all blocks of an organization go the same way. Single events of others that go
            that way too may share it.
        columns: the staging columns that the rows fill, separated by commas; bucket, organization and key come first.
        buckets: how many staging had when the rows were made.
        rows: rows of COPY.
        letters: reports that are stored together with the rows; not saved yet.
    """

    organization_id: int
    columns: str
    buckets: int
    rows: bytes
    letters: Sequence[DeadLetter] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A block on its way from the log to staging, until it is acknowledged.

    Attributes:
        block_id: the same for every delivery of the same block, 32 hex digits.
        stream: where it stood in the log, with its number there.
        handle: what the driver needs to acknowledge it.
    """

    block_id: str
    stream: str
    sequence: int
    block: Block
    handle: Any = field(repr=False)


class EventLog(Protocol):
    """Takes blocks durably, gives them out until they are acknowledged, and tells how far that is.

    A log may give a block out more than once: the reader notes a block's id in the transaction that stages it.
    """

    CODE: ClassVar[str]

    @property
    def shards(self) -> range:
        """The parts of the log; empty when blocks are in staging as soon as they are appended."""
        ...

    def shard_of(self, organization_id: int) -> int:
        """Give the part that holds an organization's blocks."""
        ...

    def transaction(self) -> AbstractContextManager[Any]:
        """Give the transaction in which names are made and a block is appended."""
        ...

    def append(self, block: Block) -> None:
        """Store a block; when this returns it survives the loss of any one machine that holds it.

        Raises:
            LogUnavailableError: nothing is known to be stored.
            EventTooLargeError: an event can never be stored in this log.
        """
        ...

    def read(self, *, shard: int, limit: int, wait_seconds: float) -> list[Delivery]:
        """Give up to so many blocks that nobody acknowledged, waiting a moment when there are none.

        Raises:
            LogUnavailableError: the log cannot be reached.
        """
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Say that blocks are committed to staging; those that are not acknowledged are given out again."""
        ...

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Say that blocks could not be staged and may be given out again at once."""
        ...

    def end_of(self, shard: int) -> int:
        """Give the number of the last block that was appended."""
        ...

    def acknowledged_up_to(self, shard: int) -> int:
        """Give the number up to which every block is acknowledged."""
        ...

    def stream_of(self, shard: int) -> str:
        """Give the name that a shard's deliveries carry."""
        ...

    def close(self) -> None:
        """Let go of connections; the next use makes new ones."""
        ...
