from typing import ClassVar

from django.contrib import admin

from apps.kernel.adminsite.base import BillingModelAdmin


class CatalogAdmin(BillingModelAdmin):
    """Catalogue screens: owners edit, everybody looks."""

    change_right: ClassVar[str | None] = "edit_catalog"
    add_right: ClassVar[str | None] = "edit_catalog"
    list_filter = ["organization", ("deleted_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "public_id"]
    exclude = ["deleted_at"]
    readonly_fields = ["public_id"]
    date_hierarchy = "created_at"
