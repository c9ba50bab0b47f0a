"""API keys: shown once, limited by scopes, dead soon after they are revoked."""

from datetime import timedelta
from typing import Any

import pytest

from apps.kernel.clock import wall_now
from apps.kernel.errors import InvalidError
from apps.organizations.domain.roles import Scope
from apps.organizations.models import ApiKey
from apps.organizations.selectors import principals
from apps.organizations.services.keys import create_api_key, revoke_api_key
from tests.world import Api, World

pytestmark = pytest.mark.django_db


def test_only_the_hash_of_a_secret_is_stored(world: World) -> None:
    key, secret = create_api_key(organization=world.merchant, user=world.owner, name="billing")
    assert secret.startswith("sk_test_")
    assert key.prefix == secret[:12]
    row = ApiKey.objects.filter(pk=key.pk).values().get()
    assert not any(secret in str(value) for value in row.values())


def test_a_revoked_key_stops_within_a_second(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1_000.0]
    monkeypatch.setattr(principals, "monotonic", lambda: moment[0])
    world.api.get("/v0/testClocks")
    key = ApiKey.objects.get(organization=world.merchant)
    revoke_api_key(key_id=key.pk, as_of=wall_now())
    revoke_api_key(key_id=key.pk, as_of=wall_now() + timedelta(days=1))  # twice is fine, the first moment stays
    moment[0] += principals.CACHE_SECONDS
    assert principals.CACHE_SECONDS <= 1
    answer = world.api.call("get", "/v0/testClocks", expect=401)
    assert answer["WWW-Authenticate"] == "Bearer"
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert key.revoked_at < wall_now()


def test_a_key_expires(world: World) -> None:
    now = wall_now()
    _, secret = create_api_key(
        organization=world.merchant, user=world.owner, name="old", expires_at=now - timedelta(seconds=1)
    )
    Api(secret).get("/v0/testClocks", expect=401)


@pytest.mark.parametrize(
    "header", ["Basic abc", "Bearer", "Bearer  ", "sk_test_x", "Bearer sk_test_unknown", "Bearer é"]
)
def test_anything_else_is_no_key(world: World, header: str) -> None:
    answer = world.api.client.get("/v0/testClocks", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["message"]


def test_a_key_reaches_only_its_scopes(world: World) -> None:
    _, secret = create_api_key(
        organization=world.merchant, user=world.owner, name="meter", scopes=[Scope.EVENTS_CREATE, Scope.CATALOG_READ]
    )
    world.metric(world.product())
    narrow = Api(secret)
    narrow.get(f"/v0/products?merchantId={world.id}")
    refused = narrow.post("/v0/products", {"name": "x", "description": "", "merchantId": world.id}, expect=403)
    assert (refused["reason"], refused["requiredPermissions"]) == ("insufficient_scope", ["catalog:write"])
    event: dict[str, Any] = {
        "type": "ai.inference", "source": "s", "subject": "u",
        "data": {"tokens": 1},
        "idempotencyKey": "1",
    }  # fmt: skip
    narrow.post("/v0/events", event, expect=202)
    _, reader = create_api_key(organization=world.merchant, user=world.owner, name="r", scopes=[Scope.USAGE_READ])
    assert Api(reader).post("/v0/events", event, expect=403)["requiredPermissions"] == ["events:create"]


@pytest.mark.parametrize("scopes", [[], ["everything"], ["catalog:read", "nope"]])
def test_unknown_scopes_are_refused(world: World, scopes: list[str]) -> None:
    with pytest.raises(InvalidError):
        create_api_key(organization=world.merchant, user=world.owner, name="x", scopes=scopes)


def test_last_use_is_noted(world: World) -> None:
    _, secret = create_api_key(organization=world.merchant, user=world.owner, name="seen")
    Api(secret).get("/v0/testClocks")
    assert ApiKey.objects.get(name="seen").last_used_at is not None
