"""What customers announce."""

from dataclasses import dataclass

from apps.outbox.domain.events import outbox_event


@outbox_event("customer.created.v0")
@dataclass(frozen=True, slots=True)
class CustomerCreated:
    customer_id: str
    consumer_id: str
    external_id: str | None
