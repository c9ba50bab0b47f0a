"""What all calls about rights share."""

from datetime import datetime, timedelta
from typing import ClassVar

from apps.entitlements.api.inputs import refuse
from apps.entitlements.models import Entitlement
from apps.entitlements.selectors.entitlements import entitlements_of, present_of
from apps.entitlements.selectors.histories import History, ahead_of, histories
from apps.kernel.clock import wall_now
from apps.kernel.http.views import ContractView, Request
from apps.metering.services.catching_up import catch_up

LONGEST_AHEAD = timedelta(days=2 * 366)
READ, WRITE = "entitlements:read", "entitlements:write"
TRUE = ("true", "1")


class RightsView(ContractView):
    scopes: ClassVar[dict[str, str]] = {"GET": READ, "POST": WRITE, "DELETE": WRITE}

    def entitlement(self, public_id: str) -> Entitlement:
        rows = entitlements_of(organization_id=self.organization_id)
        return self.get_own(rows, public_id, "entitlement")

    def query_moment(self) -> datetime | None:
        """Read the moment to answer for, which may lie ahead as far as anybody plans."""
        at = self.query_instant("at")
        if at is not None and at > wall_now() + LONGEST_AHEAD:
            raise refuse("at", "Ask for a moment within the next two years.")
        return at

    def balances(self, rows: list[Entitlement], *, at: datetime | None) -> dict[int, History]:
        """Give what is left of rights at a moment, or now, by key."""
        if at is not None:
            return histories([(row, at) for row in rows])
        return histories([(row, present_of(row)) for row in rows], ahead=ahead_of(rows))

    def wait_if_asked(self, request: Request) -> None:
        """Wait until what was accepted before the call is counted, where the caller wants that."""
        if request.query_params.get("consistent", "").lower() in TRUE:
            catch_up(organization_id=self.organization_id)
