from datetime import datetime

from apps.metering.models import DeadLetter


def resolve_letter(*, letter_id: int, as_of: datetime) -> int:
    """Mark a dead letter as dealt with; twice is fine."""
    return DeadLetter.objects.filter(pk=letter_id, resolved_at__isnull=True).update(resolved_at=as_of)
