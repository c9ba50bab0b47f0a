"""One connection that threads read by in turns."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DataError, connection, transaction

from apps.kernel.prepared import SharedConnection, read_prepared
from tests.world import make_world

pytestmark = pytest.mark.django_db(transaction=True)

BACKEND = "SELECT pg_backend_pid(), %(n)s::int"


@pytest.fixture
def shared() -> SharedConnection:
    return SharedConnection()


def test_threads_share_a_backend_and_get_their_own_rows(shared: SharedConnection) -> None:
    try:
        with ThreadPoolExecutor(8) as pool:
            rows = list(pool.map(lambda n: shared.read(BACKEND, {"n": n}), range(200)))
    finally:
        shared.close()
    assert [found[0][1] for found in rows] == list(range(200))
    (backend,) = {found[0][0] for found in rows}
    assert backend != read_prepared(BACKEND, {"n": 0})[0][0]


def test_a_connection_that_ended_is_opened_again(shared: SharedConnection) -> None:
    try:
        first = shared.read(BACKEND, {"n": 1})[0][0]
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
        assert shared.read(BACKEND, {"n": 2})[0][0] != first
    finally:
        shared.close()


def test_a_statement_that_fails_is_not_asked_again_and_leaves_the_connection_usable(shared: SharedConnection) -> None:
    try:
        first = shared.read(BACKEND, {"n": 1})
        with pytest.raises(DataError):
            shared.read("SELECT 1 / %(n)s::int", {"n": 0})
        assert shared.read(BACKEND, {"n": 1}) == first
    finally:
        shared.close()


def test_what_a_transaction_has_not_committed_is_not_seen(shared: SharedConnection) -> None:
    make_world()
    count = "SELECT count(*) FROM organizations_organization WHERE %(n)s = 1"
    before = shared.read(count, {"n": 1})
    try:
        with transaction.atomic():
            make_world()
            assert read_prepared(count, {"n": 1}) > before
            assert shared.read(count, {"n": 1}) == before
        assert shared.read(count, {"n": 1}) > before
    finally:
        shared.close()
