import pytest

from tests.world import World


@pytest.fixture
def metric(world: World) -> str:
    """A sum of tokens."""
    return world.metric(world.product())
