from django.db import DEFAULT_DB_ALIAS, connections


def database_name() -> str:
    """Name the database that this process works with, for what it remembers of it: tests and copies have several."""
    return str(connections.settings[DEFAULT_DB_ALIAS]["NAME"])
