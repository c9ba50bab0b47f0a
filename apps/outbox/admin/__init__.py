from apps.outbox.admin.events import OutboxEventAdmin

__all__ = ["OutboxEventAdmin"]
