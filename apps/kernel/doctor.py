"""Is every part well, and what to do about each that is not; the list of checks is wired by settings."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.conf import settings
from django.utils.module_loading import import_string


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: in words, and how to mend it where it is not well."""

    state: State
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    Attributes:
        name: which part.
        run: looks at it at a moment; what it raises is a problem too.
        needs: names of checks that must not have found a problem, for this one to make sense.
    """

    name: str
    run: Callable[[datetime], Finding]
    needs: Sequence[str] = ()


def ok(text: str) -> Finding:
    return Finding(State.OK, text)


def warning(text: str, fix: str) -> Finding:
    return Finding(State.WARNING, text, fix)


def problem(text: str, fix: str) -> Finding:
    return Finding(State.PROBLEM, text, fix)


def examine(*, as_of: datetime, checks: Iterable[Check] | None = None) -> list[tuple[str, Finding]]:
    """Run every check, in order; one that fails keeps none of the others from running.

    Args:
        checks: what `settings.DOCTOR_CHECKS` names by default.
    """
    found: dict[str, Finding] = {}
    for check in import_string(settings.DOCTOR_CHECKS) if checks is None else checks:
        ill = [name for name in check.needs if found[name].state in (State.PROBLEM, State.SKIPPED)]
        if ill:
            found[check.name] = Finding(State.SKIPPED, f"Not looked at: {', '.join(ill)} first.")
            continue
        try:
            found[check.name] = check.run(as_of)
        except Exception as error:  # whatever a check cannot cope with is what the operator must know
            said = str(error).splitlines()[0] if str(error) else "no message"
            found[check.name] = problem(
                f"{type(error).__name__}: {said}", "Read the message; the check itself did not get through."
            )
    return list(found.items())
