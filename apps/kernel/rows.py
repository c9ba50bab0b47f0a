"""Rows written in sets: one COPY for what is new, one UPDATE for what changed.

Constraints and triggers hold as for single rows. `Model.save` is not called: what it would do beside writing is done
here for the base of all entities, and for nothing else.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import repeat
from typing import Any

import msgspec
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.db.models.expressions import RawSQL

from apps.kernel.clock import wall_now
from apps.kernel.ids import new_id
from apps.kernel.models import Entity
from apps.kernel.written_json import WrittenJSON


def insert_rows(rows: Sequence[models.Model]) -> None:
    """Insert rows of one model with a single COPY (caller's transaction); their keys are not known afterwards.

    Raises:
        IntegrityError: a constraint refuses one; none is stored.
        TypeError: a column is of a kind that is not written this way.
    """
    if not rows:
        return
    model = type(rows[0])
    fields = [field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)]
    for row in rows:
        if isinstance(row, Entity) and not row.public_id:
            row.public_id = new_id(row.PREFIX)
    _write(model, fields, [_texts(field, _stored_values(field, rows)) for field in fields])


def insert_values(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows that are no objects: as `insert_rows`, for very many of them.

    Args:
        names: attributes of the columns that `rows` give values for, in their order; all others have their defaults.
            Of entities the public id is among them.
        rows: plain values; of a JSON column what is to be stored as JSON.
    """
    by_name: dict[str, Any] = {field.attname: field for field in model._meta.concrete_fields}
    given = [by_name.pop(name) for name in names]
    rest = [field for field in by_name.values() if not isinstance(field, models.AutoField)]
    # One moment and one set of defaults for all.
    blank = model()
    columns = list(zip(*rows, strict=True))
    if not columns:
        return
    same = [repeat(_texts(field, _stored_values(field, [blank]))[0]) for field in rest]
    texts = [_texts(field, values) for field, values in zip(given, columns, strict=True)]
    _write(model, [*given, *rest], [*texts, *same])


def insert_missing(model: type[models.Model], names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows that are no objects, leaving out those that are there by a unique constraint.

    One statement that waits for others who insert the same, so give the rows in one order.

    Args:
        names: as in `insert_values`.
        rows: plain values; of a JSON column an object.
    """
    if not rows:
        return
    by_name: dict[str, Any] = {field.attname: field for field in model._meta.concrete_fields}
    given = [by_name.pop(name) for name in names]
    rest = [field for field in by_name.values() if not isinstance(field, models.AutoField)]
    blank = model()
    same = [_text(_stored_values(field, [blank])[0]) for field in rest]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(field.column) for field in (*given, *rest))
    casts = [f"given.c{number}::{field.db_type(connection)}" for number, field in enumerate(given)]
    casts += [f"%s::{field.db_type(connection)}" for field in rest]
    arrays = [_array_of([_text(value) for value in column]) for column in zip(*rows, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(model._meta.db_table)} ({columns}) SELECT {', '.join(casts)}"
            f" FROM unnest({', '.join(['%s::text[]'] * len(given))})"
            f" AS given ({', '.join(f'c{number}' for number in range(len(given)))}) ON CONFLICT DO NOTHING",
            [*same, *arrays],
        )


def update_rows(rows: Sequence[models.Model], names: Sequence[str]) -> None:
    """Write some columns of rows of one model with a single UPDATE (caller's transaction).

    Args:
        rows: stored ones, changed in memory.
        names: the fields to write; when the row was changed is written too.
    """
    if not rows:
        return
    model = type(rows[0])
    fields = [model._meta.get_field(name) for name in names]
    now = wall_now()
    if _says_when(model):
        for row in rows:
            row.updated_at = now  # type: ignore[attr-defined]
    columns = [[getattr(row, field.attname) for row in rows] for field in fields]  # type: ignore[union-attr]
    _update(model, fields, [row.pk for row in rows], columns, now)


def update_values(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write some columns of rows that are no objects: as `update_rows`, for very many of them.

    Args:
        names: the fields to write.
        rows: the key and plain values of each, in the order of the names.
    """
    keys, *columns = [*zip(*rows, strict=True)] or [()]
    if keys:
        _update(model, [model._meta.get_field(name) for name in names], keys, columns, wall_now())


def _says_when(model: type[models.Model]) -> bool:
    return any(field.name == "updated_at" for field in model._meta.fields)


def _update(
    model: type[models.Model], fields: Sequence[Any], keys: Sequence[int], columns: Sequence[Sequence[Any]],
    now: datetime,
) -> None:  # fmt: skip
    quote = connection.ops.quote_name
    sets: list[str] = []
    values: list[Any] = []
    arrays: list[str] = []
    for field, column in zip(fields, columns, strict=True):
        texts = [_text(value) for value in column]
        if texts.count(texts[0]) == len(texts):
            # Many columns of a set are the same in all of its rows, such as a status: they are read once.
            sets.append(f"{quote(field.column)} = %s::{field.db_type(connection)}")
            values.append(texts[0])
        else:
            sets.append(f"{quote(field.column)} = given.c{len(arrays)}::{field.db_type(connection)}")
            arrays.append(_array_of(texts))
    if _says_when(model):
        sets.append("updated_at = %s")
        values.append(now)
    values += [integers(keys), *arrays]
    given = ", ".join(["%s::bigint[]", *["%s::text[]"] * len(arrays)])
    names = "".join(f", c{number}" for number in range(len(arrays)))
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {quote(model._meta.db_table)} AS target SET {', '.join(sets)}"
            f" FROM unnest({given}) AS given (pk{names}) WHERE target.id = given.pk",
            values,
        )


def join(rows: Sequence[models.Model], name: str, among: models.QuerySet[Any]) -> None:
    """Put at hand what rows refer to by a foreign key, with one query and one object for each row referred to.

    `select_related` makes an object for every row that refers.
    """
    join_all([(rows, name)], among)


def join_all(referring: Sequence[tuple[Sequence[models.Model], str]], among: models.QuerySet[Any]) -> None:
    """As `join`, by several foreign keys to one model.

    Args:
        referring: rows and the name of the foreign key.
        among: what they refer to.
    """
    held = []
    for rows, name in referring:
        if rows:
            field: Any = type(rows[0])._meta.get_field(name)
            held.append((field, rows, [row.__dict__[field.attname] for row in rows]))
    wanted = {key for _, _, keys in held for key in keys if key is not None}
    found: dict[int | None, Any] = {row.pk: row for row in among.filter(pk__in=many(wanted))} if wanted else {}
    found[None] = None
    for field, rows, keys in held:
        name = field.cache_name
        for row, key in zip(rows, keys, strict=True):
            # As `set_cached_value` does, without asking the field for each row.
            row._state.fields_cache[name] = found[key]


def many(keys: Iterable[int]) -> RawSQL | list[int]:
    """Give keys for an `__in` lookup as one array; Django and the driver work on each key of a list.

    No keys stay a list: Django knows the answer then and does not ask the database.
    """
    known = list(keys)
    return RawSQL("SELECT unnest(%s::bigint[])", [integers(known)]) if known else []


def as_array(values: Iterable[Any]) -> str:
    """Give plain values as an array for a parameter that says of what; the driver works on each value of a list."""
    return _array_of([_text(value) for value in values])


def many_texts(texts: Iterable[str]) -> RawSQL | list[str]:
    """As `many`, of texts."""
    known = list(texts)
    return RawSQL("SELECT unnest(%s::text[])", [_array_of(known)]) if known else []


def integers(values: Iterable[int]) -> str:
    """Give whole numbers as one array for `unnest`, as text: the driver would work on each of them."""
    return "{" + ",".join(map(str, values)) + "}"


def instants(values: Iterable[datetime]) -> str:
    """As `integers`, of instants."""
    return "{" + ",".join(map(_instant, values)) + "}"


def _write(model: type[models.Model], fields: Sequence[Any], columns: Sequence[Iterable[str]]) -> None:
    """Write rows that are given column by column, as COPY reads them."""
    text = "\n".join(map("\t".join, zip(*columns, strict=False)))
    quote = connection.ops.quote_name
    names = ", ".join(quote(field.column) for field in fields)
    statement = f"COPY {quote(model._meta.db_table)} ({names}) FROM STDIN"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.write(text)


def _escaped(text: str) -> str:
    """Write a text as COPY reads it; few have anything to escape."""
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\n" in text or "\t" in text or "\r" in text:
        text = text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return text


def _instant(value: datetime) -> str:
    if value.tzinfo is UTC:
        return _utc(value)
    if value.tzinfo is None:
        raise TypeError(f"{value.isoformat()} has no time zone.")
    return value.isoformat()


# The rows of a set share most of their moments.
@lru_cache(maxsize=1024)
def _utc(value: datetime) -> str:
    return value.isoformat()


def _truth(value: bool) -> str:
    return "t" if value else "f"


def _array(value: Sequence[int | Decimal]) -> str:
    return "{" + ",".join([str(item if isinstance(item, Decimal) else int(item)) for item in value]) + "}"


def _json(value: Any) -> str:
    text = value.text if isinstance(value, WrittenJSON) else msgspec.json.encode(value).decode()
    return text.replace("\\", "\\\\") if "\\" in text else text


# How values of a field's kind are written; those of any other type take the way through the field.
_KINDS: dict[str, tuple[type, Callable[[Any], str]]] = {
    "BigIntegerField": (int, str),
    "BooleanField": (bool, _truth),
    "CharField": (str, _escaped),
    "DateTimeField": (datetime, _instant),
    "DecimalField": (Decimal, str),
    "ForeignKey": (int, str),
    "IntegerField": (int, str),
    "OneToOneField": (int, str),
    "PositiveIntegerField": (int, str),
    "PositiveSmallIntegerField": (int, str),
    "TextField": (str, _escaped),
}
NULL = "\\N"


def _texts(field: Any, values: Sequence[Any]) -> list[str]:
    """Write the values of a column as COPY reads them; a column at a time, since there may be very many.

    Raises:
        TypeError: its kind is not written this way.
    """
    if isinstance(field, models.JSONField):
        return [NULL if value is None else _json(value) for value in values]
    if isinstance(field, ArrayField) and isinstance(field.base_field, models.IntegerField | models.DecimalField):
        return [NULL if value is None else _array(value) for value in values]
    known = _KINDS.get(field.get_internal_type())
    if known is None:
        raise TypeError(f"Columns such as {field} are not written in sets.")
    plain, write = known

    def odd(value: Any) -> str:
        if value is None:
            return NULL
        if type(value) is int and plain is Decimal:
            return str(value)
        # As an object of the model is saved: a choice, a number given as text.
        stored = field.get_db_prep_save(value, connection)
        return NULL if stored is None else _escaped(str(stored))

    return [write(value) if type(value) is plain else odd(value) for value in values]


def _stored_values(field: Any, rows: Sequence[models.Model]) -> list[Any]:
    """Give what is stored of a field of new rows, such as the moment they are made."""
    if type(field).pre_save is not models.Field.pre_save:
        return [field.pre_save(row, add=True) for row in rows]
    name = field.attname
    return [getattr(row, name) for row in rows]


def _array_of(texts: Sequence[str | None]) -> str:
    """Write texts as an array; the driver would look at every character of every one."""
    return "{" + ",".join(["NULL" if text is None else f'"{_quoted(text)}"' for text in texts]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return text.replace('"', '\\"') if '"' in text else text


def _text(value: Any) -> str | None:
    """Give a value as PostgreSQL reads it from text."""
    match value:
        case None:
            return None
        case str():
            return str(value)
        case bool():
            return "t" if value else "f"
        case datetime():
            return _instant(value)
        case list() | tuple():
            return _array(value)
        case dict():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)
