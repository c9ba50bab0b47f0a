"""The published client, called by the names of its operations."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from paygentic_sdk import Paygentic, errors

NOW = datetime(2026, 1, 22, 12, tzinfo=UTC)

SERVED = {
    "products": {"create", "get", "update", "list"},
    "billable_metrics": {"create", "get", "update", "list", "meter", "list_events"},
    "fees": {"create", "get", "update", "list", "delete"},
    "features": {"create", "get", "update", "list", "delete"},
    "prices": {"create", "get", "update", "list", "delete"},
    "plans": {"create", "get", "update", "list", "list_available", "list_plan_versions", "mint_plan_version",
              "get_plan_version", "transition_plan_version"},
    "customers": {"create", "get", "update", "list", "delete"},
    "subscriptions": {
        "create", "get", "update_subscription", "list", "terminate", "migrate_subscription_version",
        "list_subscription_adjustments", "create_subscription_adjustment", "delete_subscription_adjustment",
        "get_subscription_intervals", "edit_subscription_intervals", "list_subscription_interval_changes",
        "list_interval_changes", "generate_portal_link", "reconcile_subscription_features",
    },
    "events": {"ingest"},
    "test_clocks": {"create", "get", "advance", "list", "delete"},
    "invoices_v2": {
        "list", "get", "get_line_items", "list_line_items", "create_line_item", "list_projected_invoices",
        "record_invoice_payment", "download_invoice_pdf", "create_invoice_refund", "list_invoice_refunds",
        "void_invoice_refund",
    },
    "users": {"get", "update"},
}  # fmt: skip


class Caller:
    """Calls operations by name, as blocking code or as a coroutine, and remembers which."""

    def __init__(self, client: Paygentic, run: Callable[[Any], Any] | None) -> None:
        self.client, self.run = client, run
        self.called: dict[str, set[str]] = {group: set() for group in SERVED}

    def __call__(self, group: str, operation: str, **arguments: Any) -> Any:
        self.called[group].add(operation)
        methods = getattr(self.client, group)
        if self.run is None:
            return getattr(methods, operation)(**arguments)
        return self.run(getattr(methods, f"{operation}_async")(**arguments))

    def refused(self, status: int, group: str, operation: str, **arguments: Any) -> errors.PaygenticError:
        """Call what must be refused with a status, and with words."""
        with pytest.raises(errors.PaygenticError) as caught:
            self(group, operation, **arguments)
        assert caught.value.status_code == status, caught.value.body
        assert caught.value.raw_response.json()["message"]
        return caught.value


def word() -> str:
    return uuid.uuid4().hex[:10]


def content_of(call: Caller, answer: httpx.Response) -> bytes:
    """Read what the client streams."""
    return answer.read() if call.run is None else call.run(answer.aread())  # type: ignore[no-any-return]


def event(counted: str, subject: str | None, units: int) -> dict[str, Any]:
    sent = {
        "type": counted, "source": "https://app.test", "data": {"units": units}, "timestamp": NOW + timedelta(days=1),
        "idempotency_key": word(),
    }  # fmt: skip
    return sent if subject is None else {**sent, "subject": subject}
