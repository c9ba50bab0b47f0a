"""From the secret of a request to its principal, without a database round trip on most calls."""

import threading
from datetime import datetime
from time import monotonic

from apps.kernel.database import database_name
from apps.kernel.http.principal import Principal
from apps.kernel.outage import read_or_recall
from apps.organizations.domain.keys import hash_secret
from apps.organizations.models import ApiKey

# A revoked key therefore stops working within this time in every process that reaches the database.
CACHE_SECONDS = 1.0
CACHE_ENTRIES = 10_000

_cache: dict[tuple[str, bytes], tuple[float, Principal | None]] = {}
_lock = threading.Lock()


def find_principal(*, secret: str, as_of: datetime) -> Principal | None:
    """Find who a key secret speaks for; None when it is unknown, revoked or expired."""
    digest = hash_secret(secret)
    # Per database, because tests and replicas of one process may see several.
    cache_key = (database_name(), digest)
    hit = _cache.get(cache_key)
    if hit is not None and hit[0] > monotonic():
        return hit[1]
    known, expired_at = (hit[1], hit[0]) if hit is not None else (None, 0.0)
    principal, is_fresh = read_or_recall(lambda: _read_principal(digest, as_of), last=known, expired_at=expired_at)
    if not is_fresh:
        return principal
    with _lock:
        if len(_cache) >= CACHE_ENTRIES:
            _cache.clear()
        _cache[cache_key] = (monotonic() + CACHE_SECONDS, principal)
    return principal


def forget_principals() -> None:
    """Drop what this process remembers of keys, as after revoking one here."""
    with _lock:
        _cache.clear()


def _read_principal(digest: bytes, as_of: datetime) -> Principal | None:
    key = (
        ApiKey.objects.select_related("organization", "user")
        .filter(secret_hash=digest, revoked_at__isnull=True, user__is_active=True)
        .first()
    )
    if key is None or (key.expires_at is not None and key.expires_at <= as_of):
        return None
    return Principal(
        organization_id=key.organization_id,
        organization_public_id=key.organization.public_id,
        user_id=key.user_id,
        user_public_id=key.user.public_id,
        key_id=key.pk,
        scopes=frozenset(key.scopes),
        is_live=key.organization.environment == "live",
    )
