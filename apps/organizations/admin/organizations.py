from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from apps.kernel.adminsite.base import BillingModelAdmin
from apps.organizations.domain.identifiers import compact
from apps.organizations.models import Membership, Organization, User
from apps.organizations.services.details import CHECKS


class OrganizationForm(forms.ModelForm):
    """Ids are kept without blanks, and only where they can be right."""

    class Meta:
        model = Organization
        fields = "__all__"

    def clean_vat_id(self) -> str:
        return self._checked("vat_id")

    def clean_iban(self) -> str:
        return self._checked("iban")

    def clean_bic(self) -> str:
        return self._checked("bic")

    def _checked(self, name: str) -> str:
        text = compact(self.cleaned_data[name])
        if text and (problem := CHECKS[name](text)):
            raise forms.ValidationError(problem)
        return text


@admin.register(Organization)
class OrganizationAdmin(BillingModelAdmin):
    """Merchants and the consumers they manage."""

    empty_text = "Merchants and their consumers are listed here."
    form = OrganizationForm
    organization_path: ClassVar[str] = "pk"
    change_right: ClassVar[str | None] = "administer"
    list_display = ["name", "public_id", "environment", "is_merchant", "is_consumer", "country", "created_at"]
    list_filter = ["environment", "is_merchant", "is_consumer", "country"]
    search_fields = ["name", "email", "public_id"]
    readonly_fields = ["public_id", "environment", "managed_by", "is_merchant", "is_consumer"]
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super(BillingModelAdmin, self).get_queryset(request)
        person: Any = request.user
        visible = person.visible_organization_ids()
        if visible is None:
            return rows
        return rows.filter(Q(pk__in=visible) | Q(managed_by_id__in=visible))

    def organization_of(self, obj: Any) -> int | None:
        row = obj if isinstance(obj, Organization) else Organization.objects.filter(pk=obj).first()
        return None if row is None else row.managed_by_id or row.pk


@admin.register(Membership)
class MembershipAdmin(BillingModelAdmin):
    """Who belongs to an organization, and as what."""

    empty_text = "A member is a person with a role in an organization."
    change_right: ClassVar[str | None] = "administer"
    add_right: ClassVar[str | None] = "administer"
    list_display = ["user", "organization", "role", "state", "created_at"]
    list_filter = ["role", "state"]
    search_fields = ["user__email", "organization__name"]
    list_select_related = ["user", "organization"]


@admin.register(User)
class UserAdmin(BillingModelAdmin):
    """People; what they may do stands on their memberships."""

    empty_text = "People who may sign in are listed here."
    organization_path: ClassVar[str] = "memberships__organization_id"
    change_right: ClassVar[str | None] = "administer"
    list_display = ["email", "first_name", "last_name", "is_active", "last_login"]
    list_filter = ["is_active"]
    search_fields = ["email", "first_name", "last_name", "public_id"]
    fields = [
        "public_id",
        "email",
        "first_name",
        "last_name",
        "phone",
        "kind",
        "is_active",
        "last_login",
        "created_at",
    ]
    readonly_fields = ["public_id", "email", "last_login", "created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).distinct()

    def organization_of(self, obj: Any) -> int | None:
        key = obj.pk if isinstance(obj, User) else obj
        return Membership.objects.filter(user_id=key).values_list("organization_id", flat=True).first()
