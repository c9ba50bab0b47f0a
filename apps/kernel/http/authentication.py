from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from apps.kernel.http.principal import Principal


class PrincipalAuthentication(BaseAuthentication):
    """Take the principal that the key middleware found; it has already refused bad keys."""

    def authenticate(self, request: Request) -> tuple[Principal, None] | None:
        principal: Principal | None = getattr(request._request, "principal", None)
        return None if principal is None else (principal, None)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def bearer_of(headers: Any) -> str | None:
    """Give the secret of an `Authorization: Bearer …` header, None when there is none."""
    return secret_of(headers.get("Authorization", ""))


def secret_of(authorization: str) -> str | None:
    """Give the secret of an Authorization header's value, None when it is no Bearer."""
    kind, _, secret = authorization.partition(" ")
    return secret.strip() or None if kind.lower() == "bearer" else None
