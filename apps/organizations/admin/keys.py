from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import BillingModelAdmin, ReadOnlyModelAdmin
from apps.organizations.domain.roles import Scope
from apps.organizations.models import ApiKey, IdempotencyRecord
from apps.organizations.selectors.principals import forget_principals
from apps.organizations.services.keys import create_api_key, revoke_api_key


def _revoke(call: Call) -> str:
    revoke_api_key(key_id=call.row.pk, as_of=call.now)
    forget_principals()
    return f"{call.row.name} stops working everywhere within a second."


class ApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, scope.value) for scope in Scope],
        widget=forms.CheckboxSelectMultiple,
        initial=[Scope.ALL.value],
    )

    class Meta:
        model = ApiKey
        fields = ["organization", "name", "scopes", "expires_at"]
        widgets = {"name": UnfoldAdminTextInputWidget}


@admin.register(ApiKey)
class ApiKeyAdmin(BillingModelAdmin):
    """Keys of integrators: made and revoked here, never shown twice."""

    empty_text = "A key lets a program call the API for one person."
    add_right: ClassVar[str | None] = "develop"
    list_display = ["name", "prefix", "organization", "user", "scopes", "last_used_at", "expires_at", "revoked_at"]
    list_filter = ["organization", ("revoked_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "prefix", "public_id"]
    list_select_related = ["organization", "user"]
    exclude = ["secret_hash"]
    actions_detail = ["revoke_key"]
    form = ApiKeyForm
    date_hierarchy = "created_at"

    revoke_key = service_action(
        title="Revoke key",
        permissions=["develop"],
        description="Calls with this key are refused from then on. This cannot be undone.",
        run=_revoke,
        icon="block",
        fits=lambda key: key.revoked_at is None,
    )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ["organization", "name", "scopes", "expires_at"]
        return [
            "public_id",
            "name",
            "prefix",
            "organization",
            "user",
            "scopes",
            "last_used_at",
            "expires_at",
            "revoked_at",
        ]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        person: Any = request.user
        made, secret = create_api_key(
            organization=obj.organization,
            user=person,
            name=obj.name,
            scopes=form.cleaned_data["scopes"],
            expires_at=obj.expires_at,
        )
        obj.pk, obj.public_id = made.pk, made.public_id
        messages.warning(request, f"Copy the key now, it is not shown again: {secret}")


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(ReadOnlyModelAdmin):
    """First answers of the last day, kept for repeats."""

    empty_text = "Answers that a repeated request gets again are kept here for a while."
    list_display = ["key", "method", "path", "response_status", "organization", "created_at"]
    search_fields = ["key", "path"]
    list_select_related = ["organization"]
    exclude = ["request_hash", "response_body"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["organization", "key", "method", "path", "response_status", "response_type", "created_at"]
