import pytest

from tests.entitlements.kit import Kit
from tests.recomputing import _issued_is_recomputed  # noqa: F401 - a fixture
from tests.world import make_world


@pytest.fixture
def kit(db: None) -> Kit:
    return Kit.make(make_world())
