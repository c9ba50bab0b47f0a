from apps.organizations.admin.keys import ApiKeyAdmin, IdempotencyRecordAdmin
from apps.organizations.admin.organizations import MembershipAdmin, OrganizationAdmin, UserAdmin

__all__ = [
    "ApiKeyAdmin",
    "IdempotencyRecordAdmin",
    "MembershipAdmin",
    "OrganizationAdmin",
    "UserAdmin",
]
