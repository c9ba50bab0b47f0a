"""Who may do what: six roles and the rights they hold."""

from enum import StrEnum


class Role(StrEnum):
    VIEWER = "viewer"
    SUPPORT = "support"
    FINANCE = "finance"
    APPROVER = "approver"
    ENGINEER = "engineer"
    OWNER = "owner"


class Right(StrEnum):
    """One thing a person may do; screens and actions name the right they need."""

    VIEW = "view"
    EXPORT = "export"
    EDIT_CUSTOMER = "edit_customer"
    MANAGE_SUBSCRIPTION = "manage_subscription"
    BILL = "bill"
    EDIT_CATALOG = "edit_catalog"
    DEVELOP = "develop"
    ADMINISTER = "administer"
    SEE_AUDIT = "see_audit"


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.VIEW}),
    Role.SUPPORT: frozenset({Right.VIEW, Right.EDIT_CUSTOMER, Right.MANAGE_SUBSCRIPTION}),
    Role.FINANCE: frozenset(
        {
            Right.VIEW,
            Right.EXPORT,
            Right.EDIT_CUSTOMER,
            Right.MANAGE_SUBSCRIPTION,
            Right.BILL,
            Right.SEE_AUDIT,
        }
    ),
    Role.APPROVER: frozenset({Right.VIEW, Right.EXPORT, Right.SEE_AUDIT}),
    Role.ENGINEER: frozenset({Right.VIEW, Right.DEVELOP, Right.SEE_AUDIT}),
    Role.OWNER: frozenset(Right),
}


class Scope(StrEnum):
    """What an API key may touch; `*` is everything its organization has."""

    ALL = "*"
    CATALOG_READ = "catalog:read"
    CATALOG_WRITE = "catalog:write"
    CUSTOMERS_READ = "customers:read"
    CUSTOMERS_WRITE = "customers:write"
    EVENTS_CREATE = "events:create"
    EVENTS_CORRECT = "events:correct"
    USAGE_READ = "usage:read"
    SUBSCRIPTIONS_READ = "subscriptions:read"
    SUBSCRIPTIONS_WRITE = "subscriptions:write"
    ENTITLEMENTS_READ = "entitlements:read"
    ENTITLEMENTS_WRITE = "entitlements:write"
    INVOICES_READ = "invoices:read"
    INVOICES_WRITE = "invoices:write"
    TEST_CLOCKS_READ = "testClocks:read"
    TEST_CLOCKS_WRITE = "testClocks:write"
    ORGANIZATIONS_READ = "organizations:read"
    ORGANIZATIONS_WRITE = "organizations:write"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
