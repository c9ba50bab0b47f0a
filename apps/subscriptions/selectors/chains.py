from collections import defaultdict
from collections.abc import Iterable

from django.db import connection


def predecessors_of(subscription_ids: Iterable[int]) -> dict[int, set[int]]:
    """Give, for each subscription, itself and all that it replaced over changes of plan; one query."""
    found: dict[int, set[int]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE chain (root, id) AS (
                SELECT id, id FROM subscriptions_subscription WHERE id = ANY(%s)
                UNION ALL
                SELECT chain.root, s.replaces_id FROM chain JOIN subscriptions_subscription s ON s.id = chain.id
                WHERE s.replaces_id IS NOT NULL
            )
            SELECT root, id FROM chain
            """,
            [sorted(set(subscription_ids))],
        )
        for root, own in cursor.fetchall():
            found[root].add(own)
    return found
