"""`python -m config.stack demo | stop | servers | run -- COMMAND`."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from config.env import SettingError, boolean, integer
from config.stack.backends import addresses_of, running_backends
from config.stack.instance import ROOT, run_instance, running_pid, start_detached, stop_instance
from config.stack.servers import StackError

USAGE = "usage: python -m config.stack demo | stop | servers | run -- COMMAND …"


def main(arguments: list[str]) -> int:
    var = Path(os.environ.get("VAR") or ROOT / "var")
    match arguments:
        case ["demo"]:
            port = integer(os.environ, "PORT", default=0, low=1, high=65535) or None
            if boolean(os.environ, "DETACH", default=False):
                return start_detached(var, port)
            return run_instance(var, port)
        case ["stop"]:
            print("Stopped." if stop_instance(var.resolve()) else f"Nothing runs in {var}.")
            return 0
        case ["servers"]:
            ended = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: ended.set())
            with running_backends(var) as addresses:
                for name, value in addresses.items():
                    print(f"export {name}='{value}'", flush=True)
                ended.wait()
            return 0
        case ["run", "--", *command] if command:
            if running_pid(var.resolve()) is not None:
                environment = os.environ | addresses_of(var)
                return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
            with running_backends(var):
                return subprocess.run(command, cwd=ROOT, check=False).returncode
        case _:
            print(USAGE, file=sys.stderr)
            return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (StackError, SettingError) as error:
        print(f"metergate: {error}", file=sys.stderr)
        sys.exit(1)
