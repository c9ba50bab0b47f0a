"""`make demo` and `make stop`: a second instance, a killed server, a detached start, an ordinary user."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.stack.instance import stop_instance
from tests.live import ROOT, environment_of, free_port, running_stack

pytestmark = pytest.mark.xdist_group("live")


@pytest.fixture
def var() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="metergate-demo-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)
        # Whatever a failing test left running must not outlive it.
        stop_instance(Path(folder))


def readiness(base_url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{base_url}/readyz", timeout=10) as answer:
            return {**json.loads(answer.read()), "status": answer.status}
    except urllib.error.HTTPError as error:
        return {**json.loads(error.read()), "status": error.code}
    except OSError as error:
        return {"status": 0, "problem": str(error)}


def wait_until_ready(base_url: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while (found := readiness(base_url))["status"] != 200:
        assert time.monotonic() < end, found
        time.sleep(0.2)


def children(pid: int) -> dict[str, int]:
    """Give the direct children of a process by the last word of their program's path."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes().split(b"\x00")
        except (OSError, ValueError):
            continue
        if parent == pid and words[0]:
            # Some servers write more than their path into their title.
            found[Path(words[0].decode().split()[0]).name] = int(folder.name)
    return found


def control(word: str, var: Path, port: int, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "config.stack", word], cwd=ROOT, env=environment_of(var, port) | more,
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_a_detached_instance_survives_kills_and_stops_completely(var: Path) -> None:
    port = free_port()
    started = control("demo", var, port, DETACH="1")
    assert started.returncode == 0, started.stderr
    facts = json.loads((var / "demo.json").read_text())
    for name in ("base_url", "admin_url", "admin_login", "admin_password", "merchant_id", "api_key"):
        assert facts[name]
    assert (var / "demo.json").stat().st_mode & 0o077 == 0
    # Nobody has to wait for the schedule before all is well.
    end = time.monotonic() + 30
    doctor = [sys.executable, "-m", "config.stack", "run", "--", sys.executable, "manage.py", "doctor"]
    while (
        found := subprocess.run(
            doctor, cwd=ROOT, env=environment_of(var, port), capture_output=True, text=True, timeout=60, check=False
        )
    ).returncode:
        assert time.monotonic() < end, found.stdout
    # A second start of the same folder is refused and harms nothing.
    assert control("demo", var, port, DETACH="1").returncode == 1
    pid = int((var / "metergate.pid").read_text())
    before = children(pid)
    for server in ("postgres", "valkey-server"):
        os.kill(before[server], signal.SIGKILL)
    time.sleep(1)
    wait_until_ready(facts["base_url"])
    after = children(pid)
    assert after["postgres"] != before["postgres"]
    assert after["valkey-server"] != before["valkey-server"]
    stopped = control("stop", var, port)
    assert (stopped.returncode, stopped.stdout) == (0, "Stopped.\n")
    assert not (var / "demo.json").exists()
    assert not any(Path(f"/proc/{child}").exists() for child in after.values())
    assert control("stop", var, port).stdout == f"Nothing runs in {var}.\n"
    # The second start finds its data and is quicker than the first by far.
    assert control("demo", var, port, DETACH="1").returncode == 0
    again = json.loads((var / "demo.json").read_text())
    assert (again["merchant_id"], again["api_key"]) == (facts["merchant_id"], facts["api_key"])
    assert control("stop", var, port).returncode == 0


def test_two_instances_do_not_meet(stack: dict[str, Any], var: Path) -> None:
    with running_stack(var, free_port()) as other:
        assert other["merchant_id"] != stack["merchant_id"]
        request = urllib.request.Request(
            f"{stack['base_url']}/v0/testClocks", headers={"Authorization": f"Bearer {other['api_key']}"}
        )
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request, timeout=10)


@pytest.mark.parametrize("detach", ["", "1"])
def test_a_port_is_never_shared_with_another_instance(stack: dict[str, Any], var: Path, detach: str) -> None:
    port = int(stack["base_url"].rpartition(":")[2])
    refused = control("demo", var, port, DETACH=detach)
    assert refused.returncode == 1
    assert f"Port {port} is taken" in refused.stderr
    assert list(var.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="the tests run as an ordinary user already")
def test_an_ordinary_user_can_run_it(var: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv to become another user with")
    readable = subprocess.run(
        ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups",
         sys.executable, "-c", "import config.stack.servers"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if readable.returncode != 0:
        pytest.skip("this folder or this Python is closed to other users")
    os.chown(var, nobody.pw_uid, nobody.pw_gid)
    port = free_port()
    command = [
        "setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups",
        sys.executable, "-m", "config.stack",
    ]  # fmt: skip
    environment = environment_of(var, port) | {"DETACH": "1", "HOME": str(var)}
    try:
        started = subprocess.run(
            [*command, "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert started.returncode == 0, started.stderr
        owner = (var / "demo.json").stat().st_uid
        assert owner == nobody.pw_uid
    finally:
        subprocess.run([*command, "stop"], cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False)
