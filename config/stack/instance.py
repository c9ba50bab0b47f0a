"""One running Metergate: servers, web, workers and beat under one supervisor."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from config.stack.backends import start_backends
from config.stack.process import Program, is_running, tail, wait_until
from config.stack.servers import StackError, free_port, is_free
from config.stack.supervisor import Supervisor

ROOT = Path(__file__).resolve().parent.parent.parent
READY_SECONDS = 90.0
# As many merges at once as there are cores, and no more than buckets.
MERGERS = min(os.cpu_count() or 1, 4)
STOP_SECONDS = 60.0
FACTS = ("base_url", "admin_url", "admin_login", "admin_password", "merchant_id", "api_key")


def pid_file(var: Path) -> Path:
    return var / "metergate.pid"


def running_pid(var: Path) -> int | None:
    """Give the process id of the instance of a data folder, None when it is not running."""
    try:
        pid = int(pid_file(var).read_text())
    except (FileNotFoundError, ValueError):
        return None
    if not is_running(pid):
        return None
    try:
        # The number may belong to somebody else by now.
        return pid if b"config.stack" in Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except OSError:
        return pid


def stop_instance(var: Path) -> bool:
    """Stop the instance of a data folder and wait until it is gone; False when there was none."""
    pid = running_pid(var)
    if pid is None:
        pid_file(var).unlink(missing_ok=True)
        return False
    os.kill(pid, signal.SIGTERM)
    if not wait_until(lambda: not is_running(pid), seconds=STOP_SECONDS):
        raise StackError(f"Process {pid} does not stop; look at {var / 'log'}.")
    return True


def run_instance(var: Path, port: int | None) -> int:
    """Run an instance in the foreground until a signal ends it."""
    var = var.resolve()
    if running_pid(var) is not None:
        raise StackError(f"An instance runs in {var} already; `make stop` ends it, VAR= starts another beside it.")
    _require_free(port)
    var.mkdir(parents=True, exist_ok=True)
    (var / "demo.json").unlink(missing_ok=True)
    pid_file(var).write_text(str(os.getpid()))
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    supervisor = Supervisor()
    try:
        facts = _start(supervisor, var, port, ended)
        if facts is None:
            return 130
        _print_facts(facts, var)
        ended.wait()
        print("\nStopping …", flush=True)
        return 0
    finally:
        supervisor.stop()
        (var / "demo.json").unlink(missing_ok=True)
        pid_file(var).unlink(missing_ok=True)


def start_detached(var: Path, port: int | None) -> int:
    """Start an instance in the background and return when it is healthy."""
    var = var.resolve()
    if running_pid(var) is not None:
        raise StackError(f"An instance runs in {var} already; `make stop` ends it, VAR= starts another beside it.")
    _require_free(port)
    var.mkdir(parents=True, exist_ok=True)
    log = var / "log" / "stack.log"
    log.parent.mkdir(exist_ok=True)
    (var / "demo.json").unlink(missing_ok=True)
    environment = {**os.environ, "VAR": str(var), "DETACH": ""}
    if port is not None:
        environment["PORT"] = str(port)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "config.stack", "demo"],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    healthy = wait_until(
        lambda: (var / "demo.json").exists() or process.poll() is not None,
        seconds=READY_SECONDS + 90,
        pause=0.1,
    )
    if not healthy or process.poll() is not None:
        if process.poll() is None:
            process.terminate()
        print(tail(log, 60), file=sys.stderr)
        return 1
    _print_facts(json.loads((var / "demo.json").read_text()), var)
    return 0


def _require_free(port: int | None) -> None:
    # The web server shares its port among its processes. It would share it with another instance too, and each caller
    # would meet now one merchant and now the other.
    if port is not None and not is_free(port):
        raise StackError(f"Port {port} is taken; give PORT= one that is free, or none to have one chosen.")


def _start(supervisor: Supervisor, var: Path, port: int | None, ended: threading.Event) -> dict[str, Any] | None:
    began = time.monotonic()
    port = port if port is not None else free_port(8000)
    base_url = f"http://127.0.0.1:{port}"
    os.environ.update({"VAR": str(var), "BASE_URL": base_url, "PORT": str(port)})
    os.environ.update(start_backends(supervisor, var))
    # One process for both: on a small machine starting Python costs as much as the work.
    seeded: dict[str, Any] = json.loads(_manage("demo", "--migrate", "--json").strip().splitlines()[-1])
    for program in _programs(var, port):
        supervisor.add(lambda program=program: program)  # type: ignore[misc]
    facts = {"base_url": base_url, "admin_url": f"{base_url}/admin/", **seeded}
    end = time.monotonic() + READY_SECONDS
    while not ended.is_set():
        if _is_ready(base_url):
            facts["started_in_seconds"] = round(time.monotonic() - began, 1)
            _write_facts(facts, var)
            return facts
        if time.monotonic() > end:
            logs = "\n".join(
                f"── {name}\n{tail(var / 'log' / f'{name}.log', 12)}" for name in ("web", "worker", "beat")
            )
            raise StackError(f"The stack is not ready after {READY_SECONDS:.0f} s: {_readiness(base_url)}\n{logs}")
        time.sleep(0.1)
    return None


def _programs(var: Path, port: int) -> list[Program]:
    """Give what runs on top of the servers."""
    python, log = sys.executable, var / "log"
    celery = [python, "-m", "celery", "-A", "config.celery"]
    worker = [*celery, "worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    web = [
        python, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "2", "--blocking-threads", "16", "--no-ws", "--workers-kill-timeout", "5",
        "--respawn-failed-workers", "--log-level", "warning", "config.wsgi:application",
    ]  # fmt: skip
    return [
        Program("web", web, log / "web.log", folder=ROOT),
        Program(
            "worker",
            [*worker, "-Q", "default", "-c", "2", "-n", "worker@%h"],
            log / "worker.log",
            folder=ROOT,
        ),
        Program(
            "merger",
            [*worker, "-Q", "merge", "-c", str(MERGERS), "-n", "merger@%h"],
            log / "merger.log",
            folder=ROOT,
        ),
        Program("beat", [*celery, "beat", "--loglevel", "WARNING", "--pidfile="], log / "beat.log", folder=ROOT),
        *_consumers(python, log),
    ]


def _consumers(python: str, log: Path) -> list[Program]:
    """Give what carries events from an event log in front of the database, when there is one."""
    if not os.environ.get("EVENT_LOG_URL"):
        return []
    command = [python, "manage.py", "consume_event_log"]
    return [Program("consumer", command, log / "consumer.log", folder=ROOT)]


def _manage(*arguments: str) -> str:
    """Run a management command and give what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StackError(f"manage.py {arguments[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _is_ready(base_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base_url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _readiness(base_url: str) -> str:
    try:
        with urllib.request.urlopen(f"{base_url}/readyz", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except (urllib.error.URLError, OSError) as error:
        return str(error)


def _write_facts(facts: dict[str, Any], var: Path) -> None:
    draft = var / "demo.json.part"
    draft.write_text(json.dumps(facts, indent=2) + "\n")
    draft.chmod(0o600)
    draft.replace(var / "demo.json")


def _print_facts(facts: dict[str, Any], var: Path) -> None:
    rows = {
        "Admin": facts["admin_url"],
        "  login": f"{facts['admin_login']} / {facts['admin_password']}",
        "API": f"{facts['base_url']}/docs/",
        "  merchant": facts["merchant_id"],
        "  key": facts["api_key"],
        "Data": f"{var} (the same facts stand in demo.json)",
    }
    print(f"\nMetergate is running, ready after {facts.get('started_in_seconds', '?')} s.\n")
    for name, value in rows.items():
        print(f"  {name:<12}{value}")
    print("\n  Ctrl-C stops everything; a detached instance is stopped by `make stop`.\n", flush=True)
