"""From the event log to staging: a block is acknowledged only after its rows are committed."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic, sleep

from django.conf import settings
from django.db import DataError, IntegrityError, connection, transaction

from apps.kernel.clock import wall_now
from apps.metering.eventlog import Block, Delivery, EventLog, LogUnavailableError, event_log
from apps.metering.eventlog.postgresql import copy_block
from apps.metering.models import DeadLetter
from apps.metering.services.staging import BUCKETS

logger = logging.getLogger(__name__)

BLOCKS = 32
POLL_SECONDS = 0.02


def consume(*, log: EventLog, shard: int, limit: int = BLOCKS, wait_seconds: float = 0.5) -> int:
    """Carry up to `limit` blocks of a shard to staging.

    A crash between any two steps is harmless: what is not acknowledged comes again, what is staged already is known
    by its id, and an event that came in two blocks is known by its key.

    Returns:
        How many blocks were taken from the log.
    """
    deliveries = log.read(shard=shard, limit=limit, wait_seconds=wait_seconds)
    if deliveries:
        try:
            stage_deliveries(deliveries)
        except BaseException:
            log.release(deliveries)
            raise
        log.acknowledge(deliveries)
    return len(deliveries)


def stage_deliveries(deliveries: Sequence[Delivery]) -> None:
    """Commit the rows and letters of blocks to staging, each block once, whoever else was given it."""
    try:
        with transaction.atomic():
            for delivery in _new(deliveries):
                _stage(delivery.block)
    except (DataError, IntegrityError):
        if len(deliveries) > 1:
            for delivery in deliveries:
                stage_deliveries([delivery])
            return
        logger.warning("block %s cannot be staged as it is; trying its rows", deliveries[0].block_id)
        with transaction.atomic():
            for delivery in _new(deliveries):
                _stage_by_rows(delivery.block)


def await_log(*, seconds: float | None = None) -> None:
    """Wait until all that was appended before the call is in staging; at once when there is no log in front of it.

    Raises:
        LogUnavailableError: that takes longer than `seconds`, or the log cannot be asked.
    """
    log = event_log()
    targets = {shard: log.end_of(shard) for shard in log.shards}
    end = monotonic() + (settings.EVENT_LOG_WAIT_SECONDS if seconds is None else seconds)
    while targets:
        targets = {shard: last for shard, last in targets.items() if log.acknowledged_up_to(shard) < last}
        if targets and monotonic() > end:
            raise LogUnavailableError(
                "The event log is not read to its end yet; ask again, or without waiting for everything accepted.",
                code="EVENT_LOG_BEHIND",
                retry_after_seconds=2,
            )
        if targets:
            sleep(POLL_SECONDS)


def forget_blocks(*, log: EventLog, shard: int) -> int:
    """Drop the notes on blocks that the log will not give out again; gives how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM metering_logblock WHERE stream = %s AND sequence <= %s",
            [log.stream_of(shard), log.acknowledged_up_to(shard)],
        )
        return int(cursor.rowcount)


def _new(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Note blocks as staged and give those that were not, in the caller's transaction."""
    by_id = {delivery.block_id: delivery for delivery in deliveries}
    # In one order, so that two readers that were given the same blocks cannot deadlock.
    ordered = sorted(by_id)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_logblock (block_id, stream, sequence)
            SELECT * FROM unnest(%s::uuid[], %s::text[], %s::bigint[])
            ON CONFLICT (block_id) DO NOTHING RETURNING replace(block_id::text, '-', '')
            """,
            [ordered, [by_id[key].stream for key in ordered], [by_id[key].sequence for key in ordered]],
        )
        fresh = {row[0] for row in cursor.fetchall()}
    return [delivery for key, delivery in by_id.items() if key in fresh]


def _stage(block: Block) -> None:
    copy_block(_rebucketed(block))
    if block.letters:
        DeadLetter.objects.bulk_create(block.letters)


def _stage_by_rows(block: Block) -> None:
    """Stage what can be staged, row by row; the rest goes to the dead letters."""
    block = _rebucketed(block)
    DeadLetter.objects.bulk_create(block.letters)
    for row in block.rows.splitlines(keepends=True):
        try:
            with transaction.atomic():
                copy_block(replace(block, rows=row))
        except (DataError, IntegrityError) as error:
            DeadLetter.objects.create(
                # The row's own: single events of several merchants share a block.
                organization_id=int(row.split(b"\t", 2)[1]),
                stage="log",
                code="UNSTAGEABLE",
                message=f"The database refuses the event: {str(error).splitlines()[0]}",
                payload={"columns": block.columns, "row": row.decode(errors="replace").replace("\x00", "")},
                created_at=wall_now(),
            )


def _rebucketed(block: Block) -> Block:
    """Give a block that was made when staging had other buckets the present ones."""
    if block.buckets == BUCKETS:
        return block
    rows = []
    for row in block.rows.splitlines(keepends=True):
        _, organization, key, rest = row.split(b"\t", 3)
        rows.append(b"\t".join([str(int(key[-1:], 16) % BUCKETS).encode(), organization, key, rest]))
    return replace(block, buckets=BUCKETS, rows=b"".join(rows))
