"""`python -m tests.vectors.run FILE`: run a file of numeric cases through product code."""

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from tests.vectors.areas import AREAS, OTHERWISE
from tests.vectors.areas.common import Skip


@dataclass
class Outcome:
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def run_case(case: dict[str, Any]) -> tuple[str, str]:
    """Give `passed`, `failed` or `skipped`, and why."""
    adapter = AREAS.get(case.get("area", ""))
    if adapter is None:
        area = case.get("area", "")
        return "skipped", f"{area}: {OTHERWISE[area]}" if area in OTHERWISE else f"area {area} is not built yet"
    try:
        answer = adapter(case)
    except Skip as reason:
        return "skipped", f"{case['area']}: {reason}"
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
    missing = sorted(set(case["expected"]) - set(answer) - {"lines"})
    if missing:
        return "skipped", f"{case['area']}: no answer for {', '.join(missing)}"
    wrong = {
        name: (answer[name], wanted)
        for name, wanted in case["expected"].items()
        if name in answer and not same(answer[name], wanted)
    }
    return ("failed", f"got, expected: {wrong}") if wrong else ("passed", "")


def same(found: Any, wanted: Any) -> bool:
    """Compare as decimals where both are numbers, else as they are."""
    if isinstance(wanted, list) and isinstance(found, list):
        return len(found) == len(wanted) and all(same(a, b) for a, b in zip(found, wanted, strict=True))
    try:
        return Decimal(str(found)) == Decimal(str(wanted))
    except InvalidOperation:
        return bool(found == wanted)


def run_file(path: Path) -> Outcome:
    outcome = Outcome()
    cases = json.loads(path.read_text(), parse_float=str)["cases"]
    for case in cases:
        kind, why = run_case(case)
        if kind == "passed":
            outcome.passed += 1
        elif kind == "failed":
            outcome.failures.append(f"{case['id']}: {why}")
        else:
            outcome.skipped[why] += 1
    return outcome


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m tests.vectors.run FILE")
        return 2
    outcome = run_file(Path(arguments[0]))
    for failure in outcome.failures:
        print(f"FAILED {failure}")
    for why, count in sorted(outcome.skipped.items()):
        print(f"skipped {count}: {why}")
    print(f"{outcome.passed} passed, {len(outcome.failures)} failed, {sum(outcome.skipped.values())} skipped")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
