from datetime import datetime
from functools import cache
from typing import Any, ClassVar, TypeVar

from django.db import models
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from apps.kernel.errors import FieldError, ForbiddenError, InvalidError, NotFoundError
from apps.kernel.http.fields import InstantField
from apps.kernel.http.principal import Principal

Row = TypeVar("Row", bound=models.Model)


@cache
def _query_reader(serializer: type[Serializer[Any]]) -> Serializer[Any]:
    """Give the one serializer of a class for query strings: making its fields costs more than using them."""
    return serializer()


class ContractView(APIView):
    """Base of every API view: the caller's principal, its tenancy, and input read in one line.

    Subclasses name the scope of each method in `scopes`; a method without one is refused.
    """

    scopes: ClassVar[dict[str, str]] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # The database's text knows no NUL, so nothing that holds one can be found or stored.
        bad = [name for name, values in request.query_params.lists() if any("\x00" in value for value in values)]
        if bad:
            raise InvalidError(
                "A parameter contains the NUL character.",
                errors=[FieldError(name, "Text must not contain the NUL character.", "invalid") for name in bad],
            )

    @property
    def principal(self) -> Principal:
        principal: Principal = self.request.user  # type: ignore[assignment]
        return principal

    @property
    def organization_id(self) -> int:
        """The merchant every query of this call is limited to."""
        return self.principal.organization_id

    def get_own(self, rows: models.QuerySet[Row], public_id: str, noun: str) -> Row:
        """Find one of the caller's rows by its public id; another merchant's is as absent as none."""
        # At most one row; `first()` would have it sorted, which costs more to say than to do.
        row = next(iter(rows.filter(organization_id=self.organization_id, public_id=public_id)[:1]), None)
        if row is None:
            raise NotFoundError(f"There is no {noun} {public_id}.")
        return row

    def require_merchant(self, merchant_id: str | None) -> None:
        """Refuse a call that names another merchant than the key's.

        Raises:
            ForbiddenError: the key does not belong to that merchant.
        """
        if merchant_id is not None and merchant_id != self.principal.organization_public_id:
            raise ForbiddenError(
                "This API key does not belong to that merchant.",
                reason="not_member",
                required_permissions=[],
            )

    def read(self, serializer: type[Serializer[Any]], **context: Any) -> dict[str, Any]:
        """Validate the body; every wrong field is named, unknown ones are ignored."""
        checked = serializer(data=self.request.data, context={"view": self, **context})
        checked.is_valid(raise_exception=True)
        data: dict[str, Any] = checked.validated_data
        return data

    def read_query(self, serializer: type[Serializer[Any]]) -> dict[str, Any]:
        """Validate the query string the same way, by a serializer that needs no context."""
        data: dict[str, Any] = _query_reader(serializer).run_validation(self.request.query_params)
        return data

    def require_query(self, name: str) -> str:
        value = self.request.query_params.get(name, "")
        if not value:
            raise InvalidError(
                f"{name} is required.", errors=[FieldError(name, "This parameter is required.", "required")]
            )
        return value

    def query_instant(self, name: str) -> datetime | None:
        """Read an instant of the query string; None when it is not given, 400 naming it when it is none."""
        text = self.request.query_params.get(name)
        if not text:
            return None
        try:
            instant: datetime = InstantField().run_validation(text)
        except ValidationError as error:
            raise ValidationError({name: error.detail}) from None
        return instant


__all__ = ["ContractView", "Request"]
