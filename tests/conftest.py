import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.conf import settings as django_settings
from hypothesis import settings as hypothesis_settings

from apps.entitlements.selectors.kept import memory
from apps.kernel.prepared import shared
from apps.metering.selectors.registry import forget_metrics
from apps.metering.selectors.timing import forget_timing
from apps.metering.services.committing import let_go
from apps.metering.services.interning import forget_interned
from apps.organizations.selectors.principals import forget_principals
from tests import emptying, hypothesis_profiles  # noqa: F401 - the latter registers the profiles
from tests.live import stack  # noqa: F401 - a fixture
from tests.world import Api, World, make_world

hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

emptying.install()

# Nearly every test has a merchant with an owner; the hash of a password alone takes a tenth of a second and more.
django_settings.PASSWORD_HASHERS = ["tests.hashers.QuickHasher", *django_settings.PASSWORD_HASHERS]


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    """What processes remember of the database must not outlive a test's rows."""
    forget_principals()
    forget_metrics()
    forget_interned()
    forget_timing()
    memory.clear()
    yield
    forget_interned()
    # Their connections must not outlive the test's database.
    let_go()
    shared.close()


@pytest.fixture(autouse=True)
def _emptied_last(request: pytest.FixtureRequest) -> None:
    """Have what a test commits deleted after everything else of it is taken down."""
    marker = request.node.get_closest_marker("django_db")
    if marker is not None and marker.kwargs.get("transaction"):
        request.getfixturevalue("transactional_db")


@pytest.fixture
def world(db: None) -> World:
    """A merchant with an owner, a key, and nothing else."""
    return make_world()


@pytest.fixture
def january(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """The moment at which events are accepted: in the evening of the last day of January 2026."""
    now = datetime(2026, 1, 31, 18, tzinfo=UTC)
    monkeypatch.setattr("apps.metering.api.ingest.wall_now", lambda: now)
    return now


@pytest.fixture
def api(world: World) -> Api:
    return world.api
