from typing import ClassVar

import pgtrigger
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.db import models
from django.db.models import Q

from apps.kernel.models import Entity


class SubscriptionPause(Entity):
    """A time that is over in which a subscription was paused; one that still lasts stands on the subscription."""

    PREFIX: ClassVar[str] = "paus"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey("subscriptions.Subscription", on_delete=models.PROTECT, related_name="pauses")
    span = DateTimeRangeField(help_text="Half-open.")

    class Meta:
        constraints = [
            # Its index also serves "when was this subscription paused".
            ExclusionConstraint(
                name="pause_no_overlap",
                expressions=[("subscription", RangeOperators.EQUAL), ("span", RangeOperators.OVERLAPS)],
            ),
            models.CheckConstraint(
                name="pause_is_an_interval",
                condition=Q(span__isempty=False, span__lower_inf=False, span__upper_inf=False),
            ),
        ]
        triggers = [
            # Bills were made by it.
            pgtrigger.Protect(name="pause_is_frozen", operation=pgtrigger.Update | pgtrigger.Delete)
        ]
