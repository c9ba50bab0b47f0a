"""Child processes that never outlive us."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child may not load libraries safely.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


@dataclass(slots=True)
class Program:
    """What to run and how.

    Attributes:
        stop_signal: what asks it to stop in an orderly way.
        account: unprivileged account to run as, when we are root.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20.0
    account: "Account | None" = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A user a server can run as that must not be root."""

    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """Give the account servers drop to; None when we are not root and need none."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "postgres", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid)
    return Account(65534, 65534)


def start(program: Program) -> subprocess.Popen[bytes]:
    """Start a program; it is told to stop when we die, however we die."""
    program.log.parent.mkdir(parents=True, exist_ok=True)
    parent = os.getpid()

    def tie_to_parent() -> None:
        if _LIBC is not None:
            _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

    identity: dict[str, Any] = {}
    if program.account is not None:
        # The log folder may not be reachable for the other account, so the file is opened here.
        identity = {"user": program.account.uid, "group": program.account.gid, "extra_groups": []}
    with program.log.open("ab") as log:
        return subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **program.environment},
            cwd=program.folder,
            # Its own group: a Ctrl-C in the terminal reaches the supervisor alone, which stops all in order.
            start_new_session=True,
            preexec_fn=tie_to_parent,
            **identity,
        )


def stop(process: subprocess.Popen[bytes], program: Program) -> None:
    """Ask a program to stop, and end it with its children when it does not."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
        with suppress(subprocess.TimeoutExpired):
            process.wait(program.stop_seconds)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        state = ""
    if state:
        return state not in {"Z", "X"}
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def tail(path: Path, lines: int = 25) -> str:
    """Give the last lines of a log."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def wait_until(check: Any, *, seconds: float, pause: float = 0.05) -> bool:
    """Call a check until it is true or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(pause)
    return bool(check())
