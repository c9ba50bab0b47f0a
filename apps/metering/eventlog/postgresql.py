"""The default log: the staging table itself. Reading and acknowledging are the merge's DELETE … RETURNING."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from django.db import connection, transaction

from apps.metering.eventlog.base import Block, Delivery
from apps.metering.models import DeadLetter


class PostgresqlLog:
    CODE: ClassVar[str] = "postgresql"

    @property
    def shards(self) -> range:
        return range(0)

    def shard_of(self, organization_id: int) -> int:
        return 0

    def transaction(self) -> AbstractContextManager[Any]:
        return transaction.atomic()

    def append(self, block: Block) -> None:
        if block.letters:
            with transaction.atomic():
                copy_block(block)
                DeadLetter.objects.bulk_create(block.letters)
        else:
            copy_block(block)

    def read(self, *, shard: int, limit: int, wait_seconds: float) -> list[Delivery]:
        return []

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        return None

    def release(self, deliveries: Sequence[Delivery]) -> None:
        return None

    def end_of(self, shard: int) -> int:
        return 0

    def acknowledged_up_to(self, shard: int) -> int:
        return 0

    def stream_of(self, shard: int) -> str:
        return ""

    def close(self) -> None:
        return None


def copy_block(block: Block) -> None:
    """Write a block's rows into staging, in the caller's transaction or in one of their own."""
    # The driver's errors during a COPY come as they are unless they are wrapped here.
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(f"COPY metering_stagedevent ({block.columns}) FROM STDIN") as copy,
    ):
        copy.write(block.rows)
