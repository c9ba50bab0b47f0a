from apps.organizations.models.keys import ApiKey, IdempotencyRecord
from apps.organizations.models.organization import Environment, Membership, MembershipState, Organization
from apps.organizations.models.user import User

__all__ = [
    "ApiKey",
    "Environment",
    "IdempotencyRecord",
    "Membership",
    "MembershipState",
    "Organization",
    "User",
]
