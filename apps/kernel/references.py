"""References that are checked in sets.

A foreign key looks up what every single row refers to, once for each of its references. Where rows come by the
thousand and refer to few others, that is most of what writing them costs. Tables that are written so hold the same
law by triggers: what the rows of a statement refer to exists, and stays until their transaction ends.

The fields say `db_constraint=False`; `on_delete` holds for objects as ever.
"""

from collections.abc import Mapping

from django.db import migrations

# What the rows of one statement refer to: each key looked up and locked once, as a foreign key locks it.
INSERTED = """
    SELECT asked.key INTO missing
    FROM (SELECT DISTINCT {column} AS key FROM new_rows WHERE {column} IS NOT NULL) AS asked
    LEFT JOIN LATERAL (SELECT id FROM {other} WHERE id = asked.key FOR KEY SHARE) AS held ON true
    WHERE held.id IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '{table} refers by {column} to % of {other}, which is not there', missing
            USING ERRCODE = 'foreign_key_violation', TABLE = '{table}', COLUMN = '{column}';
    END IF;
"""
UPDATED = """
    IF NEW.{column} IS DISTINCT FROM OLD.{column} AND NEW.{column} IS NOT NULL THEN
        PERFORM FROM {other} WHERE id = NEW.{column} FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION '{table} refers by {column} to % of {other}, which is not there', NEW.{column}
                USING ERRCODE = 'foreign_key_violation', TABLE = '{table}', COLUMN = '{column}';
        END IF;
    END IF;
"""
FORWARD = """
CREATE FUNCTION {table}_refers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE missing bigint;
BEGIN {inserted} RETURN NULL;
END $$;
CREATE TRIGGER {table}_refers AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION {table}_refers();
CREATE FUNCTION {table}_refers_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN {updated} RETURN NULL;
END $$;
CREATE TRIGGER {table}_refers_anew AFTER UPDATE ON {table} FOR EACH ROW
    WHEN (ROW({old}) IS DISTINCT FROM ROW({new})) EXECUTE FUNCTION {table}_refers_anew();
"""
# At the end of the transaction, as the foreign keys that Django makes.
KEPT = """
CREATE FUNCTION {table}_{column}_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM {table} WHERE {column} = OLD.id) AND NOT EXISTS (SELECT FROM {other} WHERE id = OLD.id)
    THEN
        RAISE EXCEPTION '% of {other} is referred to by {column} of {table}', OLD.id
            USING ERRCODE = 'foreign_key_violation', TABLE = '{table}', COLUMN = '{column}';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER {table}_{column}_is_kept AFTER DELETE OR UPDATE OF id ON {other}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {table}_{column}_is_kept();
"""
FORGOTTEN = """
DROP TRIGGER {table}_{column}_is_kept ON {other};
DROP FUNCTION {table}_{column}_is_kept();
"""
BACKWARD = """
DROP TRIGGER {table}_refers ON {table};
DROP FUNCTION {table}_refers();
DROP TRIGGER {table}_refers_anew ON {table};
DROP FUNCTION {table}_refers_anew();
"""


def references_in_sets(table: str, columns: Mapping[str, str]) -> migrations.RunSQL:
    """Give the operation of a migration that makes a table's references checked in sets.

    What is there already is not looked at: it came under the foreign keys that are dropped beside this.

    Args:
        table: the one that refers.
        columns: those that refer, each with the table it refers to by `id`.
    """
    each = [{"table": table, "column": column, "other": other} for column, other in columns.items()]
    forward = FORWARD.format(
        table=table,
        inserted="".join(INSERTED.format(**given) for given in each),
        updated="".join(UPDATED.format(**given) for given in each),
        old=", ".join(f"OLD.{column}" for column in columns),
        new=", ".join(f"NEW.{column}" for column in columns),
    )
    return migrations.RunSQL(
        forward + "".join(KEPT.format(**given) for given in each),
        BACKWARD.format(table=table) + "".join(FORGOTTEN.format(**given) for given in each),
    )
