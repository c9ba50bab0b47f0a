import re

import pytest

from apps.kernel.ids import new_id


@pytest.mark.parametrize(
    ("prefix", "pattern"),
    [
        ("cus", r"cus_[0-9a-zA-Z]{20}"),
        ("tc", r"tc_[0-9a-zA-Z]{16}"),
        ("inv", r"inv_[0-9a-f]{24}"),
    ],
)
def test_ids_have_the_published_form(prefix: str, pattern: str) -> None:
    made = {new_id(prefix) for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(pattern, one) for one in made)
