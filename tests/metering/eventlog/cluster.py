"""A real NATS cluster on loopback, whose nodes a test may kill and start again."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nats
from nats.errors import Error as NatsError

from config.stack.process import Program, start, stop
from tests.live import free_port

NODES = 3
CONFIG = """
server_name: node-{number}
listen: 127.0.0.1:{port}
jetstream {{ store_dir: "{folder}/data-{number}", max_file_store: 2GB }}
cluster {{ name: metergate, listen: 127.0.0.1:{route}, routes: [{routes}] }}
"""


class Cluster:
    """Nodes by number; files in a folder of their own."""

    def __init__(self, nodes: int = NODES) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="metergate-nats-"))
        self.ports = [free_port() for _ in range(nodes)]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        routes = [free_port() for _ in range(nodes)]
        for number in range(nodes):
            others = [f"nats://127.0.0.1:{route}" for route in routes if nodes > 1]
            text = CONFIG.format(
                number=number, port=self.ports[number], folder=self.folder, route=routes[number],
                routes=", ".join(f'"{other}"' for other in others),
            )  # fmt: skip
            (self.folder / f"node-{number}.conf").write_text(text)

    @property
    def url(self) -> str:
        return ",".join(f"nats://127.0.0.1:{port}" for port in self.ports)

    def start_all(self) -> None:
        for number in range(len(self.ports)):
            self.start(number)
        self.wait_until_ready()

    def start(self, number: int) -> None:
        self.processes[number] = start(self._program(number))

    def kill(self, number: int) -> None:
        """End a node without any warning."""
        process = self.processes.pop(number)
        process.kill()
        process.wait()

    def leader_of(self, stream: str) -> int:
        """Give the number of the node that leads a stream."""

        async def ask() -> str:
            client = await nats.connect(self.url.split(","), connect_timeout=1)
            try:
                info = await client.jetstream().stream_info(stream)
                assert info.cluster is not None
                return str(info.cluster.leader)
            finally:
                await client.close()

        return int(asyncio.run(ask()).removeprefix("node-"))

    def wait_until_ready(self, seconds: float = 30.0) -> None:
        """Wait until the nodes that run have a leader and give answers."""
        end = time.monotonic() + seconds
        while not asyncio.run(self._answers()):
            if time.monotonic() > end:
                logs = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))
                raise RuntimeError(f"the cluster is not ready:\n{logs}")
            time.sleep(0.1)

    def messages_in(self, prefix: str) -> tuple[int, int]:
        """Give how many messages the streams of a prefix hold, and how many they ever took."""

        async def ask() -> tuple[int, int]:
            client = await nats.connect(self.url.split(","), connect_timeout=1)
            infos = await client.jetstream(timeout=5).streams_info()
            await client.close()
            states = [info.state for info in infos if str(info.config.name).startswith(prefix)]
            return sum(state.messages for state in states), sum(state.last_seq for state in states)

        return asyncio.run(ask())

    def publish(self, stream: str, payload: bytes) -> None:
        async def send() -> None:
            client = await nats.connect(self.url.split(","), connect_timeout=1)
            await client.jetstream(timeout=5).publish(stream, payload)
            await client.close()

        asyncio.run(send())

    def delete_streams(self, prefix: str) -> None:
        async def delete() -> None:
            client = await nats.connect(self.url.split(","), connect_timeout=1)
            stream = client.jetstream(timeout=5)
            for info in await stream.streams_info():
                if str(info.config.name).startswith(prefix):
                    await stream.delete_stream(str(info.config.name))
            await client.close()

        asyncio.run(delete())

    def stop(self) -> None:
        for number, process in self.processes.items():
            stop(process, self._program(number))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _program(self, number: int) -> Program:
        binary = Path(sys.executable).parent / "nats-server"
        return Program(
            name=f"node-{number}",
            command=[str(binary), "-c", str(self.folder / f"node-{number}.conf")],
            log=self.folder / f"node-{number}.log",
            stop_seconds=5,
        )

    async def _answers(self) -> bool:
        try:
            servers: Sequence[str] = [f"nats://127.0.0.1:{self.ports[number]}" for number in self.processes]
            client = await nats.connect(list(servers), connect_timeout=1, allow_reconnect=False)
        except (NatsError, OSError):
            return False
        try:
            await client.jetstream(timeout=1).account_info()
            return True
        except (TimeoutError, NatsError):
            return False
        finally:
            await client.close()
