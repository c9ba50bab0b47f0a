from datetime import UTC, datetime


def wall_now() -> datetime:
    """Read the wall clock (UTC). Only entry points call this; services take `as_of`."""
    return datetime.now(UTC)
