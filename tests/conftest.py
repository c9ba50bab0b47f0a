import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.db import connection
from hypothesis import settings as hypothesis_settings

from apps.entitlements.selectors.kept import memory
from apps.metering.selectors.registry import forget_metrics
from apps.metering.selectors.timing import forget_timing
from apps.metering.services.committing import let_go
from apps.metering.services.interning import forget_interned
from apps.organizations.selectors.principals import forget_principals
from tests import hypothesis_profiles  # noqa: F401 - registers the profiles
from tests.live import stack  # noqa: F401 - a fixture
from tests.world import Api, World, make_world

hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


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
    # Its connection must not outlive the test's database.
    let_go()


# Django empties its own tables after a test that really commits; these belong to the database alone.
TABLES_OF_EVENTS = (
    "metering_stagedevent, metering_key, metering_event, metering_window, metering_windowvalue, metering_windowgone,"
    " metering_logblock, metering_storeposition, metering_storechange"
)


@pytest.fixture(autouse=True)
def _no_events_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave no events behind that were really committed, whatever test they are of."""
    marker = request.node.get_closest_marker("django_db")
    commits = marker is not None and bool(marker.kwargs.get("transaction"))
    if commits:
        # Before anything else of the test, so that it is taken down after this.
        request.getfixturevalue("transactional_db")
    yield
    if commits:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {TABLES_OF_EVENTS}")


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
