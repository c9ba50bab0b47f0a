"""What threads of a process ask for at the same moment, asked for in one."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key")
Answer = TypeVar("Answer")


class _Call(Generic[Key, Answer]):
    """What one thread asks for.

    Attributes:
        turn: is let go when there is something to do: take the answers, ask for `others` too, or ask alone.
        others: calls to ask for beside this one; None where somebody else asked for it.
        answers: None where that failed.
    """

    __slots__ = ("answers", "keys", "others", "turn")

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = keys
        self.turn = threading.Lock()
        self.others: list[_Call[Key, Answer]] | None = None
        self.answers: Sequence[Answer] | None = None


class Together(Generic[Key, Answer]):
    """Asks at once when nobody does; whoever comes meanwhile waits, and one of them then asks for all.

    A question is therefore never answered by what was read before it came, at any load there is one statement under
    way in a process, and the more ask, the less each of them costs. Where asking for several fails, the others ask
    alone, so that the trouble of one is nobody else's.

    Args:
        ask: gives the answers to keys; n keys in, n answers out, same order. Not to be called in a transaction: what
            it shows to one thread is shown to all.
        most: so many keys are asked for in one, unless one call alone has more.
    """

    def __init__(self, ask: Callable[[Sequence[Key]], Sequence[Answer]], *, most: int) -> None:
        self._ask = ask
        self._most = most
        self._lock = threading.Lock()
        self._is_asking = False
        self._waiting: list[_Call[Key, Answer]] = []

    def answers(self, keys: Sequence[Key]) -> Sequence[Answer]:
        """Give the answers to keys; what asking for them raises goes to who called."""
        call: _Call[Key, Answer] = _Call(keys)
        with self._lock:
            is_first = not self._is_asking
            self._is_asking = True
            if not is_first:
                call.turn.acquire()
                self._waiting.append(call)
        if is_first:
            return self._lead(call, [])
        call.turn.acquire()
        if call.others is not None:
            return self._lead(call, call.others)
        return self._ask(keys) if call.answers is None else call.answers

    def _lead(self, call: _Call[Key, Answer], others: list[_Call[Key, Answer]]) -> Sequence[Answer]:
        keys = [*call.keys, *(key for other in others for key in other.keys)] if others else call.keys
        try:
            found = self._ask(keys)
            start = len(call.keys)
            for other in others:
                end = start + len(other.keys)
                other.answers = found[start:end]
                start = end
        finally:
            # First who asks next, so that the database does not wait for us.
            self._hand_on()
            for other in others:
                other.turn.release()
        return found[: len(call.keys)] if others else found

    def _hand_on(self) -> None:
        """Let the next one ask, for itself and for as many of those behind it as may be."""
        with self._lock:
            if not self._waiting:
                self._is_asking = False
                return
            number, size = 1, len(self._waiting[0].keys)
            while number < len(self._waiting) and size + len(self._waiting[number].keys) <= self._most:
                size += len(self._waiting[number].keys)
                number += 1
            leader, *others = self._waiting[:number]
            del self._waiting[:number]
        leader.others = others
        leader.turn.release()
