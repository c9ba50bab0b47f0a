"""References checked in sets hold what a foreign key holds."""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction

from apps.kernel.references import references_in_sets

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    operation = references_in_sets("refers_child", {"one_id": "refers_one", "other_id": "refers_other"})
    with connection.cursor() as cursor:
        for name in ("refers_one", "refers_other"):
            cursor.execute(f"CREATE TABLE {name} (id bigint PRIMARY KEY, note text)")
            cursor.execute(f"INSERT INTO {name} VALUES (1), (2), (3)")
        cursor.execute("CREATE TABLE refers_child (id serial, one_id bigint, other_id bigint, note text)")
        cursor.execute(str(operation.sql))
    yield
    with connection.cursor() as cursor:
        cursor.execute(str(operation.reverse_sql))
        cursor.execute("DROP TABLE refers_child, refers_one, refers_other")


def _do(statement: str, *values: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.rowcount


def test_rows_that_refer_to_what_is_there_are_written() -> None:
    assert _do("INSERT INTO refers_child (one_id, other_id) VALUES (1, 2), (1, 3), (2, NULL), (NULL, NULL)") == 4
    assert _do("UPDATE refers_child SET one_id = 3, note = 'moved' WHERE one_id = 1") == 2
    assert _do("UPDATE refers_child SET other_id = NULL") == 4


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO refers_child (one_id, other_id) VALUES (1, 1), (2, 9), (3, 3)",
        "INSERT INTO refers_child (one_id, other_id) SELECT n, 1 FROM generate_series(1, 4) AS n",
        "UPDATE refers_child SET one_id = 9 WHERE one_id = 1",
    ],
)
def test_a_row_that_refers_to_nothing_is_refused_with_the_rest_of_its_statement(statement: str) -> None:
    _do("INSERT INTO refers_child (one_id, other_id) VALUES (1, 1)")

    with pytest.raises(IntegrityError, match=r"refers by .* which is not there") as refused:
        _do(statement)

    assert isinstance(refused.value.__cause__, psycopg.errors.ForeignKeyViolation)
    assert _do("SELECT FROM refers_child WHERE one_id = 1 AND other_id = 1") == 1
    assert _do("SELECT FROM refers_child") == 1


@pytest.mark.parametrize("statement", ["DELETE FROM refers_one WHERE id = 1", "UPDATE refers_one SET id = 9"])
def test_what_is_referred_to_stays(statement: str) -> None:
    _do("INSERT INTO refers_child (one_id) VALUES (1)")
    _do("DELETE FROM refers_one WHERE id > 1")

    with pytest.raises(IntegrityError, match="is referred to by one_id of refers_child"):
        _do(statement)

    assert _do("SELECT FROM refers_one WHERE id = 1") == 1


def test_what_is_referred_to_may_go_with_what_refers_to_it_in_any_order() -> None:
    _do("INSERT INTO refers_child (one_id) VALUES (1), (2)")

    with transaction.atomic():
        _do("DELETE FROM refers_one WHERE id = 1")
        _do("DELETE FROM refers_child WHERE one_id = 1")
    with transaction.atomic():
        _do("DELETE FROM refers_one WHERE id = 2")
        _do("INSERT INTO refers_one VALUES (2)")

    assert _do("SELECT FROM refers_child") == 1


def test_a_row_written_while_what_it_refers_to_is_deleted_waits_and_is_refused() -> None:
    refused: list[Exception] = []

    def write() -> None:
        try:
            _do("INSERT INTO refers_child (one_id) VALUES (1), (2)")
        except IntegrityError as error:
            refused.append(error)
        finally:
            connection.close()

    with transaction.atomic():
        _do("DELETE FROM refers_one WHERE id = 1")
        writing = threading.Thread(target=write)
        writing.start()
        writing.join(0.5)
        assert writing.is_alive()
    writing.join(10)

    assert len(refused) == 1
    assert _do("SELECT FROM refers_child") == 0


def test_what_a_row_refers_to_is_deleted_only_when_the_row_is_not_committed() -> None:
    """Whoever deletes waits for the transaction that wrote the row, and then sees it."""
    refused: list[Exception] = []

    def delete() -> None:
        try:
            _do("DELETE FROM refers_one WHERE id = 1")
        except IntegrityError as error:
            refused.append(error)
        finally:
            connection.close()

    with transaction.atomic():
        _do("INSERT INTO refers_child (one_id) VALUES (1)")
        deleting = threading.Thread(target=delete)
        deleting.start()
        deleting.join(0.5)
        assert deleting.is_alive()
        # What is no key may change meanwhile.
        _do("UPDATE refers_one SET note = 'changed' WHERE id = 1")
    deleting.join(10)

    assert len(refused) == 1
    assert _do("SELECT FROM refers_one WHERE id = 1") == 1


def test_every_reference_without_a_foreign_key_is_checked_in_sets() -> None:
    """But for those that say by `DO_NOTHING` that nothing is done for them."""
    fields = [
        field
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, models.ForeignKey)
        and not field.db_constraint
        and field.remote_field.on_delete is not models.DO_NOTHING
        and "pgh_obj" not in {one.name for one in model._meta.fields}
    ]
    assert len(fields) == 14
    for field in fields:
        assert field.column is not None
        table, other = field.model._meta.db_table, field.related_model._meta.db_table
        assert _do(
            "SELECT FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid"
            " WHERE tgrelid = %s::regclass AND tgname = %s AND prosrc LIKE %s",
            table, f"{table}_refers", f"%{field.column}%",
        ), f"{table}.{field.column}"  # fmt: skip
        assert _do(
            "SELECT FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = %s",
            other, f"{table}_{field.column}_is_kept",
        ), f"{table}.{field.column}"  # fmt: skip
