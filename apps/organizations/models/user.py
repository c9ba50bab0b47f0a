from typing import Any, ClassVar

import pghistory
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models

from apps.kernel.models import Entity
from apps.organizations.domain.roles import RIGHTS, Right, Role


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


@pghistory.track(exclude=["password", "last_login"])
class User(Entity, AbstractBaseUser, PermissionsMixin):
    """A person who signs in; what they may do follows from their memberships."""

    PREFIX: ClassVar[str] = "usr"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    email = models.EmailField(unique=True)
    first_name = models.CharField(max_length=150, blank=True)
    last_name = models.CharField(max_length=150, blank=True)
    phone = models.CharField(max_length=50, blank=True)
    date_of_birth = models.DateField(null=True, blank=True)
    kind = models.CharField(
        max_length=10, choices=[("COMPANY", "Company"), ("INDIVIDUAL", "Individual")], default="INDIVIDUAL"
    )
    address = models.JSONField(default=dict, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False, help_text="May open the admin.")

    objects = UserManager()

    def __str__(self) -> str:
        return self.email

    def get_all_permissions(self, obj: Any = None) -> set[str]:
        """Give none: what a person may do follows from roles, so the skin need not ask for model permissions."""
        return set()

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        return self.is_active and self.is_superuser

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_active and self.is_superuser

    def get_full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.email

    def get_short_name(self) -> str:
        return self.first_name or self.email

    @property
    def rights_by_organization(self) -> dict[int, frozenset[Right]]:
        """Rights per organization id, read once per user object (so once per request)."""
        cached: dict[int, frozenset[Right]] | None = self.__dict__.get("_rights")
        if cached is None:
            active = self.memberships.filter(state="active").values_list("organization_id", "role")
            cached = self.__dict__["_rights"] = {org: RIGHTS[Role(role)] for org, role in active}
        return cached

    def has_right(self, right: str, organization_id: int | None = None) -> bool:
        """Whether the person may do this in that organization (or in any, when none is named)."""
        if not self.is_active:
            return False
        if self.is_superuser:
            return True
        held = self.rights_by_organization
        if organization_id is None:
            return any(right in rights for rights in held.values())
        return right in held.get(organization_id, frozenset())

    def visible_organization_ids(self) -> list[int] | None:
        """Ids of the organizations whose data the person may see; None means all of them."""
        return None if self.is_superuser else sorted(self.rights_by_organization)
