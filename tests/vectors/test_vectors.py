"""Numeric vectors through product code: the shared files where they are, small own cases always."""

from pathlib import Path

import pytest
from django.conf import settings

from tests.vectors.run import main, run_case, run_file


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["anchors", "lago"])
def test_shared_vectors(name: str) -> None:
    file = settings.SHARED_DIR / "vectors" / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"the vectors are not on this machine ({file}); set METERGATE_SHARED to where they are")
    outcome = run_file(file)
    assert outcome.failures == []
    assert outcome.passed > 60


def test_own_cases() -> None:
    file = Path(__file__).parent / "own.json"
    outcome = run_file(file)
    assert outcome.failures == []
    assert outcome.passed == 6
    assert main([str(file)]) == 0


def test_a_wrong_expectation_fails() -> None:
    case = {
        "id": "x",
        "area": "charge_package",
        "inputs": {"units": 11, "package_price": "2", "package_size": 10, "free_units": 0},
        "expected": {"amount_cents": 200},
    }
    assert run_case(case)[0] == "failed"
    assert run_case({**case, "area": "no such area"})[0] == "skipped"
