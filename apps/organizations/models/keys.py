from typing import ClassVar

import pghistory
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.kernel.models import Entity
from apps.organizations.models.organization import Organization


@pghistory.track(exclude=["last_used_at"])
class ApiKey(Entity):
    """A secret an integrator calls with: stored as a hash, shown once, acts as its user."""

    PREFIX: ClassVar[str] = "key"

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="api_keys")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, help_text="The first characters, to tell keys apart.")
    secret_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=40), default=list)
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"
        constraints = [
            models.CheckConstraint(name="apikey_has_scopes", condition=~Q(scopes=[])),
        ]


class IdempotencyRecord(models.Model):
    """The first answer to a POST with an Idempotency-Key, replayed to its repeats for a day."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    method = models.CharField(max_length=8)
    path = models.CharField(max_length=500)
    request_hash = models.BinaryField(max_length=32)
    response_status = models.PositiveSmallIntegerField(null=True, help_text="Empty while the first is running.")
    response_body = models.BinaryField(default=b"")
    response_type = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(help_text="When the first call came; records go a day later.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "key"], name="idempotency_key_once"),
        ]
        # Serves the daily clean-up of old records.
        indexes = [models.Index(fields=["created_at"], name="idempotency_created")]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.key}"
