"""Keeps programs running: starts them in order, restarts what dies, stops all in reverse."""

import subprocess
import threading
import time
from collections.abc import Callable

from config.stack.process import Program, start, stop

Make = Callable[[], Program]

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
# A program that ran this long was healthy: its next restart is quick again.
HEALTHY_SECONDS = 20.0


class _Slot:
    def __init__(self, make: Make) -> None:
        self.make = make
        self.program = make()
        self.process: subprocess.Popen[bytes] = start(self.program)
        self.started = time.monotonic()
        self.pause = FIRST_PAUSE
        self.restarts = 0


class Supervisor:
    """An ordered set of programs under one watch.

    A program is given as a function that makes it, because a restart may need to look at the world again.
    """

    def __init__(self) -> None:
        self._slots: list[_Slot] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._watch_on, name="supervisor", daemon=True)

    def add(self, make: Make) -> None:
        """Start one more program."""
        with self._lock:
            self._slots.append(_Slot(make))
            if len(self._slots) == 1:
                self._watch.start()

    def pid_of(self, name: str) -> int:
        """Give the process id of a program."""
        with self._lock:
            return next(slot.process.pid for slot in self._slots if slot.program.name == name)

    def stop(self) -> None:
        """Stop all programs, the last started first."""
        self._stopping.set()
        with self._lock:
            for slot in reversed(self._slots):
                stop(slot.process, slot.program)
            self._slots.clear()

    def _watch_on(self) -> None:
        while not self._stopping.wait(0.1):
            with self._lock:
                if self._stopping.is_set():
                    return
                for slot in self._slots:
                    self._revive(slot)

    @staticmethod
    def _revive(slot: _Slot) -> None:
        # poll() also reaps: a zombie would look alive to whoever checks its pid.
        if slot.process.poll() is None:
            return
        lived = time.monotonic() - slot.started
        if lived > HEALTHY_SECONDS:
            slot.pause = FIRST_PAUSE
        if lived < slot.pause:
            return
        slot.pause = min(slot.pause * 2, LONGEST_PAUSE)
        stop(slot.process, slot.program)  # ends what it left behind in its group
        slot.program = slot.make()
        slot.process = start(slot.program)
        slot.started = time.monotonic()
        slot.restarts += 1
