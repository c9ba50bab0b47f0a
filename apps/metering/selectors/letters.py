from django.db import connection


def payload_text(*, letter_id: int) -> str:
    """Give what a dead letter holds as JSON text, every digit of its numbers kept."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload::text FROM metering_deadletter WHERE id = %s", [letter_id])
        return str(cursor.fetchone()[0])
