"""Names of events: the hash a key is remembered under, and ids that tell when an event was accepted."""

import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from secrets import token_hex

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

_STAMPED = re.compile(r"evt_([0-9a-f]{11})[0-9a-f]{12}[0-9a-f]{4,}")


def key_hash(organization_id: int, key: str) -> str:
    """Give the 128-bit hash, in hex, under which a key is remembered."""
    return blake2b(f"{organization_id}\x00{key}".encode(), digest_size=16).hexdigest()


def stamp(accepted_at: datetime) -> str:
    """Give what the ids of one call begin with: the millisecond of acceptance and 48 random bits, in hex.

    Events are stored about in the order in which they are accepted, so an id tells where to look for its event;
    without the moment in it, every lookup would need an index that costs each insert.
    """
    return f"{(accepted_at - EPOCH) // MILLISECOND:011x}{token_hex(6)}"


def accepted_within(event_id: str) -> tuple[datetime, datetime] | None:
    """Give the half-open millisecond in which the event of an id was accepted; None for what is no such id."""
    found = _STAMPED.fullmatch(event_id)
    if found is None:
        return None
    moment = EPOCH + int(found[1], 16) * MILLISECOND
    return moment, moment + MILLISECOND
