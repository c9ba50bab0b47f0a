from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from apps.kernel.errors import FieldError, InvalidError
from apps.organizations.domain.keys import hash_secret, new_secret
from apps.organizations.domain.roles import Scope
from apps.organizations.models import ApiKey, Organization, User

NOTE_USE_EVERY = timedelta(minutes=1)

_noted: dict[int, datetime] = {}


@transaction.atomic
def create_api_key(
    *,
    organization: Organization,
    user: User,
    name: str,
    scopes: Sequence[str] = (Scope.ALL,),
    expires_at: datetime | None = None,
    secret: str | None = None,
) -> tuple[ApiKey, str]:
    """Make an API key and give it with its secret, which is not stored and never shown again.

    Args:
        organization: whose data the key reaches; its environment decides `sk_test_` or `sk_live_`.
        user: the person whose acts the key's calls are.
        name: what the key is for.
        scopes: names of `Scope`.
        expires_at: when it stops working by itself; None means never.
        secret: a given secret instead of a random one, for seeded demo data.

    Raises:
        InvalidError: a scope is unknown, or there is none.
    """
    unknown = sorted(set(scopes) - {scope.value for scope in Scope})
    if unknown or not scopes:
        raise InvalidError(
            "An API key needs known scopes.",
            errors=[FieldError("scopes", f"Unknown: {', '.join(unknown) or 'none given'}.", "invalid")],
        )
    secret = secret or new_secret(organization.environment)
    key = ApiKey.objects.create(
        organization=organization,
        user=user,
        name=name,
        prefix=secret[:12],
        secret_hash=hash_secret(secret),
        scopes=list(scopes),
        expires_at=expires_at,
    )
    return key, secret


def revoke_api_key(*, key_id: int, as_of: datetime) -> ApiKey:
    """Make a key stop working (within a second, see `find_principal`); doing it twice is fine."""
    ApiKey.objects.filter(pk=key_id, revoked_at__isnull=True).update(revoked_at=as_of)
    return ApiKey.objects.get(pk=key_id)


def note_use(*, key_id: int, as_of: datetime) -> None:
    """Note when a key was last used, at most once a minute and process: reading must not cost a write each time."""
    seen = _noted.get(key_id)
    if seen is not None and as_of - seen < NOTE_USE_EVERY:
        return
    _noted[key_id] = as_of
    ApiKey.objects.filter(pk=key_id).update(last_used_at=as_of)
