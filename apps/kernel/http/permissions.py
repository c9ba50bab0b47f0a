from typing import Any, cast

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from apps.kernel.errors import ForbiddenError, UnauthenticatedError
from apps.kernel.http.principal import Principal


class ScopePermission(BasePermission):
    """Deny by default: a view is open only to keys that hold the scope it names for the method.

    Views declare `scopes = {"GET": "catalog:read", "POST": "catalog:write"}`.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        principal = cast("Principal | None", request.user)
        if principal is None:
            raise UnauthenticatedError("Send your API key as `Authorization: Bearer sk_…`.")
        if request.method == "OPTIONS":
            return True
        scope = getattr(view, "scopes", {}).get(request.method)
        if scope is None:
            return request.method not in view.allowed_methods  # falls through to 405
        if not principal.allows(scope):
            raise ForbiddenError(
                f"This API key lacks the scope {scope}.",
                reason="insufficient_scope",
                required_permissions=[scope],
            )
        return True
