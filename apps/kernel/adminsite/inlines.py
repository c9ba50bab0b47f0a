"""Rows of a neighbour on a page, to look at."""

from typing import Any

from django.http import HttpRequest
from unfold.admin import TabularInline


class ReadOnlyInline(TabularInline):
    """Rows that nobody edits on this page; who may see the page may see them."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True
