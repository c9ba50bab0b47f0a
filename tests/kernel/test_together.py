"""Threads that ask at the same moment share what is asked, and nothing else."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from apps.kernel.together import Together


def in_threads(works: Sequence[Callable[[], object]]) -> None:
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_everybody_gets_what_was_read_after_asking() -> None:
    """Thousands of questions by many threads: each answer is its own, and none is older than its question."""
    clock = iter(range(10**9))
    batches: list[int] = []

    def ask(keys: Sequence[int]) -> list[tuple[int, int]]:
        now = next(clock)
        batches.append(len(keys))
        time.sleep(0.0005)
        return [(key, now) for key in keys]

    together = Together(ask, most=10)

    def work(number: int) -> None:
        for n in range(200):
            keys = list(range(number * 1000 + n, number * 1000 + n + n % 4))
            before = next(clock)
            found = together.answers(keys)
            assert [key for key, _ in found] == keys
            assert all(now > before for _, now in found)

    in_threads([lambda number=number: work(number) for number in range(12)])  # type: ignore[misc]
    assert sum(batches) == 12 * 50 * (0 + 1 + 2 + 3)
    assert max(batches) <= 10
    assert len(batches) < 12 * 200 / 2


def test_the_trouble_of_one_is_nobody_elses() -> None:
    """Where asking for all failed, everybody asks alone; whoever led gets the error of its own."""
    begun, may_go_on = threading.Event(), threading.Event()

    def ask(keys: Sequence[str]) -> list[str]:
        if keys == ["first"]:
            begun.set()
            assert may_go_on.wait(30)
        if "bad" in keys:
            raise ValueError(f"{len(keys)} at once")
        return [key.upper() for key in keys]

    together = Together(ask, most=10)
    errors: list[str] = []

    def ask_badly() -> None:
        with pytest.raises(ValueError, match="at once") as caught:
            together.answers(["bad"])
        errors.append(str(caught.value))

    def ask_well() -> None:
        # Behind the bad one, which leads.
        assert together.answers(["good"]) == ["GOOD"]

    def go_on() -> None:
        assert begun.wait(30)
        time.sleep(0.3)
        may_go_on.set()

    def first() -> None:
        assert together.answers(["first"]) == ["FIRST"]

    def later(work: Callable[[], object], seconds: float) -> Callable[[], object]:
        def run() -> None:
            assert begun.wait(30)
            time.sleep(seconds)
            work()

        return run

    in_threads([first, go_on, later(ask_badly, 0.05), later(ask_well, 0.15)])
    assert errors == ["2 at once"]
    assert together.answers(["still"]) == ["STILL"]


def test_more_than_may_be_asked_at_once_is_asked_by_who_wants_it() -> None:
    together: Together[int, int] = Together(lambda keys: [key * 2 for key in keys], most=3)
    assert together.answers([1, 2, 3, 4, 5]) == [2, 4, 6, 8, 10]
    assert together.answers([]) == []
