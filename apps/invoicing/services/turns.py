"""Credit notes and what is worked out from them take turns, subscription by subscription."""

from collections.abc import Iterable

from django.db import connection

# The class of the advisory locks by which what is given back of one subscription's bills takes turns.
CREDIT_LOCKS = 7_203


def take_credit_turns(subscription_ids: Iterable[int]) -> None:
    """Let one at a time give back of what subscriptions were billed, until the caller's transaction ends.

    Corrections, unused time and credit notes each read what the others gave back before they write. Of two at once
    neither would see the other. It is no lock of a row: a bill may be settled or paid meanwhile.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, key) FROM (SELECT unnest(%s::int[]) AS key ORDER BY key) AS keys",
            [CREDIT_LOCKS, sorted(set(subscription_ids))],
        )
