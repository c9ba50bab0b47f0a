from typing import ClassVar

import pghistory
import pgtrigger
from django.db import models
from django.db.models import F, Q

from apps.entitlements.models.entitlement import counts_as_change
from apps.kernel.models import Entity

# A whole minute after every earlier reset by hand, while the right is there; what is no right with a calendar of its
# own has no usage period that could be ended.
FITS = """
IF date_trunc('minute', NEW.effective_at) <> NEW.effective_at THEN
    RAISE EXCEPTION 'a reset takes effect at a whole minute'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'usagereset_at_a_whole_minute';
END IF;
IF NOT EXISTS (
    SELECT FROM entitlements_entitlement AS e
    WHERE e.id = NEW.entitlement_id AND e.reset_cadence <> '' AND e.pool_id IS NULL
      AND e.active_from < NEW.effective_at AND (e.active_to IS NULL OR NEW.effective_at < e.active_to)
) THEN
    RAISE EXCEPTION 'only a right with a usage period of its own is reset, while it is in force'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'usagereset_of_a_right_in_force';
END IF;
IF EXISTS (
    SELECT FROM entitlements_usagereset AS earlier
    WHERE earlier.entitlement_id = NEW.entitlement_id AND earlier.effective_at >= NEW.effective_at
) THEN
    RAISE EXCEPTION 'a reset comes after those before it'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'usagereset_after_the_last';
END IF;
RETURN NEW;
"""


@pghistory.track(exclude=["updated_at"])
class UsageReset(Entity):
    """A usage period that somebody ended before its time; a fact that never changes."""

    PREFIX: ClassVar[str] = "rst"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    entitlement = models.ForeignKey("entitlements.Entitlement", on_delete=models.PROTECT, related_name="resets")
    effective_at = models.DateTimeField(help_text="The whole minute at which the next usage period began.")
    made_at = models.DateTimeField(help_text="When it was made, in the customer's time.")
    retains_anchor = models.BooleanField(
        default=True, help_text="Whether later resets keep their calendar, rather than count from this one."
    )
    preserves_overage = models.BooleanField(help_text="Whether it carried overage over, rather than forgave it.")
    reason = models.CharField(max_length=255, blank=True)
    idempotency_key = models.CharField(max_length=255)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["entitlement", "idempotency_key"], name="usagereset_key_once"),
            # Its index serves histories, which read the resets of a right in order.
            models.UniqueConstraint(fields=["entitlement", "effective_at"], name="usagereset_one_at_a_time"),
            models.CheckConstraint(
                name="usagereset_not_ahead_of_its_making", condition=Q(effective_at__lte=F("made_at"))
            ),
        ]
        triggers = [
            pgtrigger.Trigger(name="usagereset_fits", operation=pgtrigger.Insert, when=pgtrigger.Before, func=FITS),
            # What balances were computed by must stay as it was.
            pgtrigger.ReadOnly(name="usagereset_is_frozen", exclude=["updated_at"]),
            pgtrigger.Protect(name="usagereset_is_kept", operation=pgtrigger.Delete),
            counts_as_change("usagereset"),
        ]
