"""What the allowances of subscribers pay of their usage, asked once for all charges of a calculation."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from apps.entitlements.selectors.coverage import CoverageRequest, coverage
from apps.kernel.time import Period


class AllowanceRequest(msgspec.Struct, frozen=True):
    """Whose usage of which price in which time."""

    customer_id: int
    subscription_id: int | None
    price_id: int
    period: Period


def covered_usage(requests: Mapping[int, AllowanceRequest | None]) -> dict[int, Decimal]:
    """Give the units that cost nothing, by number; what no allowance pays for is left out."""
    asked = {n: request for n, request in requests.items() if request is not None and request.subscription_id}
    found = coverage(
        [
            CoverageRequest(request.customer_id, request.price_id, request.period.start, request.period.end)
            for request in asked.values()
        ]
    )
    return {n: units for n, units in zip(asked, found, strict=True) if units}
