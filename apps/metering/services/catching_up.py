"""Read your writes, for every app whose answers go by usage."""

from apps.kernel.errors import UnavailableError
from apps.metering.selectors.freshness import wait_until_counted
from apps.metering.services.consuming import await_log


def catch_up(*, organization_id: int) -> None:
    """Wait, briefly, until all that a merchant's events were answered 202 for before the call is counted.

    Raises:
        UnavailableError: it takes too long; the caller should ask again.
    """
    await_log()
    if not wait_until_counted(organization_id=organization_id):
        raise UnavailableError(
            "Not all that was accepted before this call is counted yet; ask again, or without `consistent`.",
            code="USAGE_BEHIND",
            retry_after_seconds=1,
        )
