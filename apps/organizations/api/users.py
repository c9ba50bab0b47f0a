from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.kernel.errors import NotFoundError
from apps.kernel.http.fields import AddressSerializer, InstantField, StrictCharField
from apps.kernel.http.views import ContractView, Request
from apps.organizations.models import User

NAMES = {
    "firstName": "first_name",
    "lastName": "last_name",
    "phone": "phone",
    "dateOfBirth": "date_of_birth",
    "type": "kind",
    "address": "address",
}


class UpdateUserSerializer(serializers.Serializer[Any]):
    address = AddressSerializer(required=False)
    dateOfBirth = serializers.DateField(required=False)
    firstName = StrictCharField(max_length=150, required=False, allow_blank=True)
    lastName = StrictCharField(max_length=150, required=False, allow_blank=True)
    phone = StrictCharField(max_length=50, required=False, allow_blank=True)
    type = serializers.ChoiceField(choices=["COMPANY", "INDIVIDUAL"], required=False)


class UserOrganizationSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    state = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField())


class UserSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    oryId = serializers.CharField()
    email = serializers.CharField()
    createdAt = InstantField()
    updatedAt = InstantField()
    firstName = serializers.CharField()
    lastName = serializers.CharField()
    phone = serializers.CharField()
    type = serializers.CharField()
    address = AddressSerializer(required=False)
    dateOfBirth = serializers.DateField(required=False)
    organizations = UserOrganizationSerializer(many=True)


def render_user(user: User, organization_id: int) -> dict[str, Any]:
    """Give a user in the wire's form, with the caller's organization only: others are not its business."""
    body: dict[str, Any] = {
        "id": user.public_id,
        "object": "user",
        # The wire asks for an identity provider's id; here the user is its own identity.
        "oryId": user.public_id,
        "email": user.email,
        "createdAt": InstantField().to_representation(user.created_at),
        "updatedAt": InstantField().to_representation(user.updated_at),
        "firstName": user.first_name,
        "lastName": user.last_name,
        "phone": user.phone,
        "type": user.kind,
        "organizations": [
            {"id": row.organization.public_id, "state": row.state, "roles": [row.role]}
            for row in user.memberships.filter(organization_id=organization_id).select_related("organization")
        ],
    }
    if user.address:
        body["address"] = user.address
    if user.date_of_birth:
        body["dateOfBirth"] = user.date_of_birth.isoformat()
    return body


class UserDetail(ContractView):
    """A member of the caller's organization."""

    scopes = {"GET": "users:read", "PATCH": "users:write"}

    def user(self, public_id: str) -> User:
        user = User.objects.filter(public_id=public_id, memberships__organization_id=self.organization_id).first()
        if user is None:
            raise NotFoundError(f"There is no user {public_id}.")
        return user

    @extend_schema(operation_id="getUser", responses=UserSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_user(self.user(public_id), self.organization_id))

    @extend_schema(operation_id="updateUser", request=UpdateUserSerializer, responses=UserSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        user = self.user(public_id)
        for name, value in self.read(UpdateUserSerializer).items():
            setattr(user, NAMES[name], dict(value) if name == "address" else value)
        user.save()
        return Response(render_user(user, self.organization_id))
