"""Rows written in sets: one COPY for what is new, one UPDATE for what changed.

Constraints and triggers hold as for single rows. `Model.save` is not called: what it would do beside writing is done
here for the base of all entities, and for nothing else.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection, models

from apps.kernel.clock import wall_now
from apps.kernel.ids import new_id
from apps.kernel.models import Entity


def insert_rows(rows: Sequence[models.Model]) -> None:
    """Insert rows of one model with a single COPY (caller's transaction); their keys are not known afterwards.

    Raises:
        IntegrityError: a constraint refuses one; none is stored.
    """
    if not rows:
        return
    model = type(rows[0])
    fields = [field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)]
    for row in rows:
        if isinstance(row, Entity) and not row.public_id:
            row.public_id = new_id(row.PREFIX)
    columns = [_column(field) for field in fields]
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(_copy(model, fields)) as copy:
        for row in rows:
            copy.write_row([column(row) for column in columns])


def update_rows(rows: Sequence[models.Model], names: Sequence[str]) -> None:
    """Write some columns of rows of one model with a single UPDATE (caller's transaction).

    Args:
        rows: stored ones, changed in memory.
        names: the fields to write; when the row was changed is written too.
    """
    if not rows:
        return
    model = type(rows[0])
    written = [*names, "updated_at"] if any(f.name == "updated_at" for f in model._meta.fields) else list(names)
    fields: list[Any] = [model._meta.get_field(name) for name in written]
    now = wall_now()
    for row in rows:
        if "updated_at" in written:
            row.updated_at = now  # type: ignore[attr-defined]
    columns = [[_text(getattr(row, field.attname)) for row in rows] for field in fields]
    quote = connection.ops.quote_name
    numbered = [f"c{number}" for number in range(len(fields))]
    sets = ", ".join(
        f"{quote(field.column)} = given.{name}::{field.db_type(connection)}"
        for field, name in zip(fields, numbered, strict=True)
    )
    given = ", ".join(["%s::bigint[]", *["%s::text[]"] * len(fields)])
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {quote(model._meta.db_table)} AS target SET {sets}"
            f" FROM unnest({given}) AS given (pk, {', '.join(numbered)}) WHERE target.id = given.pk",
            [[row.pk for row in rows], *columns],
        )


def _copy(model: type[models.Model], fields: Sequence[Any]) -> str:
    quote = connection.ops.quote_name
    return f"COPY {quote(model._meta.db_table)} ({', '.join(quote(field.column) for field in fields)}) FROM STDIN"


# What the driver writes as it is, by the kind of field; any other value takes the way through the field.
_AS_IT_IS: dict[str, type] = {
    "BigIntegerField": int,
    "BooleanField": bool,
    "CharField": str,
    "DateTimeField": datetime,
    "DecimalField": Decimal,
    "ForeignKey": int,
    "IntegerField": int,
    "PositiveIntegerField": int,
    "TextField": str,
}


def _column(field: Any) -> Callable[[models.Model], Any]:
    """Give what reads a field's value of a row as the driver takes it."""
    plain, name = _AS_IT_IS.get(field.get_internal_type()), field.attname
    sets_itself = type(field).pre_save is not models.Field.pre_save

    def prepared(row: models.Model) -> Any:
        value = field.pre_save(row, add=True) if sets_itself else getattr(row, name)
        # A time without a zone is for the field to judge.
        if value is None or (type(value) is plain and getattr(value, "tzinfo", UTC) is not None):
            return value
        return field.get_db_prep_save(value, connection)

    return prepared


def _text(value: Any) -> str | None:
    """Give a value as PostgreSQL reads it from text."""
    match value:
        case None:
            return None
        case bool():
            return "t" if value else "f"
        case datetime():
            return value.isoformat()
        case list() | tuple():
            return "{" + ",".join(str(item if isinstance(item, Decimal) else int(item)) for item in value) + "}"
        case dict():
            return json.dumps(value)
        case _:
            return str(value)
