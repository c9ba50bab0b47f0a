"""NATS JetStream as the log: one stream a shard, each on several nodes; an acknowledgement means a quorum has it.

Callers are plain threads; the client runs on an asyncio loop in a thread of its own, one a process.
"""

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from hashlib import blake2b
from typing import Any, ClassVar, TypeVar

import nats
from django.conf import settings
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, BadRequestError, NoStreamResponseError, NotFoundError

from apps.metering.eventlog.base import RETRY_SECONDS, Block, Delivery, LogUnavailableError
from apps.metering.eventlog.messages import messages_of, read_message

logger = logging.getLogger(__name__)

T = TypeVar("T")

CONSUMER = "staging"
CONNECT_SECONDS = 2.0
# A leader that died answers nothing: ask again, under the same message id, long before the caller gives up.
ATTEMPT_SECONDS = 1.0
PAUSE_SECONDS = 0.05
ASK_SECONDS = 5.0
# A block that nobody acknowledged is given out again after this.
ACKNOWLEDGE_WITHIN_SECONDS = 30.0
# Within it the log itself drops a message id it has; beyond it the reader's note of the block does.
DUPLICATE_WINDOW_SECONDS = 120.0
MAXIMUM_UNACKNOWLEDGED = 1_000
# What the headers of a message may take of the largest payload.
MARGIN_BYTES = 1_024
OUTBOUND_BYTES = 64 << 20


class _Thread:
    """A process's asyncio loop with its connection."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.client: Client | None = None
        self.known: set[int] = set()
        self.pulls: dict[int, JetStreamContext.PullSubscription] = {}
        self.connecting = asyncio.Lock()
        self.thread = threading.Thread(target=self.loop.run_forever, name="event-log", daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, T], *, seconds: float) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(seconds)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise unavailable("it does not answer") from None


class JetStreamLog:
    CODE: ClassVar[str] = "nats"

    def __init__(self) -> None:
        self._thread: _Thread | None = None
        self._starting = threading.Lock()

    @property
    def shards(self) -> range:
        return range(settings.EVENT_LOG_SHARDS)

    def shard_of(self, organization_id: int) -> int:
        digest = blake2b(str(organization_id).encode(), digest_size=8).digest()
        return int.from_bytes(digest) % len(self.shards)

    def stream_of(self, shard: int) -> str:
        return f"{settings.EVENT_LOG_STREAM}-{shard}"

    def transaction(self) -> AbstractContextManager[Any]:
        # Names must be committed before a block that uses them can be read.
        return nullcontext()

    def append(self, block: Block) -> None:
        shard = self.shard_of(block.organization_id)
        seconds: float = settings.EVENT_LOG_ACK_SECONDS
        # Some time beyond the attempts' own end, so that their reason is the one reported.
        self._run(self._append(shard, block, seconds), seconds=seconds + CONNECT_SECONDS + 1)

    def read(self, *, shard: int, limit: int, wait_seconds: float) -> list[Delivery]:
        messages = self._run(self._fetch(shard, limit, wait_seconds), seconds=wait_seconds + 10)
        return [delivery for message in messages if (delivery := read_message(message)) is not None]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._run(self._acknowledge([delivery.handle for delivery in deliveries]), seconds=2 * ASK_SECONDS)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        # Not told, the log gives them out again all the same, only later.
        with suppress(LogUnavailableError):
            self._run(self._release([delivery.handle for delivery in deliveries]), seconds=5)

    def end_of(self, shard: int) -> int:
        return self._run(self._ask(lambda: self._end(shard)), seconds=ASK_SECONDS + 1)

    def acknowledged_up_to(self, shard: int) -> int:
        return self._run(self._ask(lambda: self._floor(shard)), seconds=ASK_SECONDS + 1)

    def close(self) -> None:
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is None or thread.pid != os.getpid():
            return
        if thread.client is not None:
            with suppress(Exception):
                thread.run(thread.client.close(), seconds=5)
        thread.loop.call_soon_threadsafe(thread.loop.stop)
        thread.thread.join(5)
        thread.loop.close()

    def _run(self, work: Coroutine[Any, Any, T], *, seconds: float) -> T:
        try:
            return self._mine().run(work, seconds=seconds)
        except (TimeoutError, NatsError, OSError) as error:
            raise unavailable(str(error) or type(error).__name__) from error

    def _mine(self) -> _Thread:
        thread = self._thread
        # A thread does not survive a fork.
        if thread is None or thread.pid != os.getpid():
            with self._starting:
                thread = self._thread
                if thread is None or thread.pid != os.getpid():
                    thread = self._thread = _Thread()
        return thread

    async def _client(self) -> Client:
        mine = self._mine()
        async with mine.connecting:
            if mine.client is None or mine.client.is_closed:
                mine.client, mine.known, mine.pulls = None, set(), {}
                mine.client = await asyncio.wait_for(
                    nats.connect(
                        servers=settings.EVENT_LOG_URL.split(","), name="metergate", connect_timeout=1,
                        reconnect_time_wait=0.2, max_reconnect_attempts=-1, ping_interval=5, max_outstanding_pings=2,
                        pending_size=OUTBOUND_BYTES, error_cb=_report, disconnected_cb=_lost, reconnected_cb=_found,
                    ),
                    CONNECT_SECONDS,
                )  # fmt: skip
            return mine.client

    async def _stream(self, shard: int) -> JetStreamContext:
        """Give the client's JetStream side; the shard's stream and consumer are made where they are missing."""
        client = await self._client()
        stream = client.jetstream(timeout=ATTEMPT_SECONDS)
        mine = self._mine()
        if shard not in mine.known:
            await _ensure(stream, self.stream_of(shard))
            mine.known.add(shard)
        return stream

    async def _append(self, shard: int, block: Block, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        client = await self._client()
        messages = messages_of(block, client.max_payload - MARGIN_BYTES)
        await asyncio.gather(*(self._publish(shard, payload, end) for payload in messages))

    async def _publish(self, shard: int, payload: bytes, end: float) -> None:
        """Send a message until a quorum has it; repeats carry the same id, so the log keeps one."""
        loop = asyncio.get_running_loop()
        name = self.stream_of(shard)
        headers = {"Nats-Msg-Id": blake2b(payload, digest_size=16).hexdigest()}
        reason: object = "it was too late"
        while (left := end - loop.time()) > 0:
            try:
                stream = await self._stream(shard)
                attempt = min(left, ATTEMPT_SECONDS)
                # Twice: the client's own limit leaves out what it waits for while it looks for another server.
                async with asyncio.timeout(attempt):
                    await stream.publish(name, payload, timeout=attempt, stream=name, headers=dict(headers))
                return
            except NoStreamResponseError as error:
                # No leader at this moment, or no such stream any more.
                self._mine().known.discard(shard)
                reason = error
            except (TimeoutError, NatsError, OSError) as error:
                reason = error
            await asyncio.sleep(PAUSE_SECONDS)
        raise unavailable(str(reason) or type(reason).__name__)

    async def _ask(self, question: Callable[[], Coroutine[Any, Any, int]]) -> int:
        """Ask until there is an answer: a leader that is being elected gives none."""
        loop = asyncio.get_running_loop()
        end = loop.time() + ASK_SECONDS
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    return await question()
            except (NatsError, OSError, TimeoutError):
                if loop.time() > end:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)

    async def _fetch(self, shard: int, limit: int, wait_seconds: float) -> list[Msg]:
        stream = await self._stream(shard)
        mine = self._mine()
        if shard not in mine.pulls:
            mine.pulls[shard] = await stream.pull_subscribe_bind(CONSUMER, self.stream_of(shard))
        try:
            return await mine.pulls[shard].fetch(limit, timeout=wait_seconds)
        except TimeoutError:
            return []
        except APIError:
            # A leader that just changed, or a consumer that is gone: the next call looks and asks again.
            mine.known.discard(shard)
            return []
        except NatsError:
            mine.known.discard(shard)
            mine.pulls.pop(shard, None)
            raise

    async def _acknowledge(self, messages: Sequence[Msg]) -> None:
        """Acknowledge until that is noted: an acknowledgement that no leader hears would be lost silently."""
        loop = asyncio.get_running_loop()
        end = loop.time() + ASK_SECONDS
        while messages:
            outcomes = await asyncio.gather(
                *(message.ack_sync(timeout=ATTEMPT_SECONDS) for message in messages), return_exceptions=True
            )
            messages = [message for message, outcome in zip(messages, outcomes, strict=True)
                        if isinstance(outcome, BaseException)]  # fmt: skip
            if messages and loop.time() > end:
                # They come again, and are known by their ids.
                raise unavailable(f"{len(messages)} acknowledgements are not noted")
            if messages:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _release(self, messages: Sequence[Msg]) -> None:
        for message in messages:
            await message.nak()

    async def _end(self, shard: int) -> int:
        return (await (await self._stream(shard)).stream_info(self.stream_of(shard))).state.last_seq

    async def _floor(self, shard: int) -> int:
        found = await (await self._stream(shard)).consumer_info(self.stream_of(shard), CONSUMER)
        return 0 if found.ack_floor is None else found.ack_floor.stream_seq


def unavailable(reason: str) -> LogUnavailableError:
    """Say that the log did not do what was asked."""
    logger.warning("the event log is unavailable: %s", reason)
    return LogUnavailableError(
        "The event log does not confirm right now; send the events again, with the same keys.",
        retry_after_seconds=RETRY_SECONDS,
    )


async def _ensure(stream: JetStreamContext, name: str) -> None:
    wanted = settings.EVENT_LOG_REPLICAS
    try:
        found = await stream.stream_info(name)
        if (found.config.num_replicas or 1) < wanted:
            logger.warning("stream %s has %s replicas, not %s", name, found.config.num_replicas, wanted)
    except NotFoundError:
        config = StreamConfig(
            name=name, subjects=[name], storage=StorageType.FILE, num_replicas=wanted,
            # A block leaves the log when it is committed to the database, and a full log refuses new ones.
            retention=RetentionPolicy.WORK_QUEUE, discard=DiscardPolicy.NEW,
            duplicate_window=DUPLICATE_WINDOW_SECONDS,
        )  # fmt: skip
        await _made(stream.add_stream(config))
    try:
        await stream.consumer_info(name, CONSUMER)
    except NotFoundError:
        consumer = ConsumerConfig(
            durable_name=CONSUMER, ack_policy=AckPolicy.EXPLICIT, ack_wait=ACKNOWLEDGE_WITHIN_SECONDS,
            max_deliver=-1, max_ack_pending=MAXIMUM_UNACKNOWLEDGED,
        )  # fmt: skip
        await _made(stream.add_consumer(name, consumer))


async def _made(making: Coroutine[Any, Any, Any]) -> None:
    try:
        await making
    except BadRequestError as error:
        # Another process made it at the same moment.
        if "already" not in str(error.description):
            raise


async def _report(error: Exception) -> None:
    # Each attempt to find a server again is one; that it was lost is reported once, and each call that fails.
    logger.debug("the event log's client: %s", error or type(error).__name__)


async def _lost() -> None:
    logger.warning("the event log's server went away; looking for another")


async def _found() -> None:
    logger.info("connected to the event log again")
