from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import Q

from apps.catalog.models.products import CatalogEntity
from apps.kernel.models import CurrencyCodeField, UnitPriceField


@pghistory.track()
class RateFeed(CatalogEntity):
    """Prices of a unit that change by the clock, such as by time of day or with a spot market."""

    PREFIX: ClassVar[str] = "feed"

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    currency = CurrencyCodeField(help_text="Plans that price by it are in this currency.")
    unit = models.CharField(max_length=50, blank=True, help_text="What a rate is for one of, such as GPU-hours.")

    class Meta:
        constraints = [
            models.CheckConstraint(name="ratefeed_currency_is_code", condition=Q(currency__regex=r"^[A-Z]{3}$"))
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="ratefeed_list")]


# The first value of a rate stands in its row; what became of it is history.
@pghistory.track(pghistory.UpdateEvent(), pghistory.DeleteEvent())
class FeedRate(models.Model):
    """What a unit costs from a moment on, until the feed's next rate."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    feed = models.ForeignKey(RateFeed, on_delete=models.PROTECT, related_name="rates")
    effective_from = models.DateTimeField()
    value = UnitPriceField(help_text="Major units for one unit.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # Its index serves "the newest rate at or before a moment", for every hour of usage that is priced.
            models.UniqueConstraint(fields=["feed", "effective_from"], name="feedrate_instant_once"),
        ]

    def __str__(self) -> str:
        return f"{self.value.normalize():f} from {self.effective_from:%Y-%m-%d %H:%M}"
