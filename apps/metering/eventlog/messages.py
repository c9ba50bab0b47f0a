"""What a JetStream message holds: a block of rows behind a line that describes it, packed."""

import json
import logging
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from nats.aio.msg import Msg

from apps.metering.eventlog.base import Block, Delivery, EventTooLargeError
from apps.metering.models import DeadLetter

logger = logging.getLogger(__name__)

# They become part of a statement.
COLUMNS = re.compile(r"[a-z_]+(, ?[a-z_]+)*")


@dataclass(frozen=True, slots=True)
class _Part:
    head: bytes
    rows: bytes


def messages_of(block: Block, limit: int) -> list[bytes]:
    """Give a block as messages that the log can take; letters travel with the first."""
    waiting = [_Part(_head(block, with_letters=True), block.rows)]
    found = []
    while waiting:
        part = waiting.pop()
        payload = zlib.compress(part.head + part.rows, 1)
        if len(payload) <= limit:
            found.append(payload)
            continue
        lines = part.rows.splitlines(keepends=True)
        if len(lines) == 1:
            raise EventTooLargeError(
                f"An event has {len(payload)} bytes packed, and the event log takes at most {limit}; send less data."
            )
        half = len(lines) // 2
        waiting.append(_Part(_head(block, with_letters=False), b"".join(lines[half:])))
        waiting.append(_Part(part.head, b"".join(lines[:half])))
    return found


def _head(block: Block, *, with_letters: bool) -> bytes:
    letters = [
        {
            "organization": letter.organization_id,
            "stage": letter.stage,
            "code": letter.code,
            "message": letter.message,
            "payload": letter.payload,
            "at": letter.created_at.isoformat(),
        }
        for letter in (block.letters if with_letters else ())
    ]
    head = {
        "organization": block.organization_id,
        "columns": block.columns,
        "buckets": block.buckets,
        "letters": letters,
    }
    return json.dumps(head).encode() + b"\n"


def read_message(message: Msg) -> Delivery | None:
    """Read a message; one that is none of ours stays where it is, and is complained about each time it comes."""
    try:
        return _delivery(message)
    except (zlib.error, ValueError, KeyError, TypeError):
        place = message.metadata
        logger.error(
            "message %s of stream %s is no block of events; remove it from the stream",
            place.sequence.stream,
            place.stream,
        )
        return None


def _delivery(message: Msg) -> Delivery:
    text, _, rows = zlib.decompress(message.data).partition(b"\n")
    head = json.loads(text)
    letters = [
        DeadLetter(
            organization_id=letter["organization"],
            stage=letter["stage"],
            code=letter["code"],
            message=letter["message"],
            payload=letter["payload"],
            created_at=datetime.fromisoformat(letter["at"]),
        )
        for letter in head["letters"]
    ]
    if not COLUMNS.fullmatch(head["columns"]):
        raise ValueError("these are no names of columns")
    block = Block(int(head["organization"]), head["columns"], int(head["buckets"]), rows, letters)
    place = message.metadata
    # The payload's hash rather than the header's: no proxy or hand can make them differ.
    block_id = blake2b(message.data, digest_size=16).hexdigest()
    return Delivery(block_id, place.stream, place.sequence.stream, block, message)
