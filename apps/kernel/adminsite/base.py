"""What every screen of the admin shares: tenancy, rights, export, history."""

from typing import Any, ClassVar, Protocol, cast

import pghistory.models
from django.contrib.admin.filters import RelatedFieldListFilter
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import models
from django.db.models import Model, QuerySet
from django.forms import CharField, JSONField
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from import_export.admin import ExportMixin
from import_export.formats.base_formats import CSV, XLSX
from unfold.admin import ModelAdmin
from unfold.contrib.import_export.forms import ExportForm
from unfold.paginator import InfinitePaginator

from apps.kernel.adminsite.texts import check_line, check_lines


class Person(Protocol):
    """What the admin asks of a signed-in user."""

    is_superuser: bool

    def has_right(self, right: str, organization_id: int | None = None) -> bool: ...

    def visible_organization_ids(self) -> list[int] | None: ...


class VisibleRelatedFilter(RelatedFieldListFilter):
    """A list's filter that offers only rows of the person's organizations; others' names are nobody's business."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        visible = _person(request).visible_organization_ids()
        limit: dict[str, Any] = {}
        if visible is not None:
            is_organization = field.related_model._meta.model_name == "organization"
            limit = {"pk__in" if is_organization else "organization_id__in": visible}
        ordering = self.field_admin_ordering(field, request, model_admin)
        return field.get_choices(include_blank=False, ordering=ordering, limit_choices_to=limit)


class FilledJsonField(JSONField):
    """A JSON field of a form that stands for the column's default when it is left blank, never for nothing."""

    blank: Any = None

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        return self.blank if cleaned is None else cleaned


class BillingModelAdmin(ExportMixin, ModelAdmin):
    """Base of all screens: rows of the person's organizations only, rights by role, nothing deletable.

    Attributes:
        organization_path: lookup from a row to the key of its organization.
        change_right: right that edits rows; None makes the screen read-only.
        add_right: right that adds rows; None forbids it.
        is_huge: the table is too large to be counted.
        empty_text: what an empty list says would be here, and how it comes to be.
    """

    organization_path: ClassVar[str] = "organization_id"
    change_right: ClassVar[str | None] = None
    add_right: ClassVar[str | None] = None
    is_huge: ClassVar[bool] = False
    empty_text: ClassVar[str] = ""

    export_form_class = ExportForm
    formats = [CSV, XLSX]
    list_per_page = 50
    list_filter_submit = True
    list_fullwidth = True
    warn_unsaved_form = True
    compressed_fields = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.show_full_result_count = not cls.is_huge

    def get_list_filter(self, request: HttpRequest) -> Any:
        return [self._visible_filter(entry) for entry in super().get_list_filter(request)]

    def _visible_filter(self, entry: Any) -> Any:
        """Bind a plain filter on a neighbouring row to the person's organizations."""
        if not isinstance(entry, str) or "__" in entry:
            return entry
        field = self.opts.get_field(entry)
        related = field.related_model
        if not field.is_relation or related is None or isinstance(related, str):
            return entry
        names = {f.name for f in related._meta.get_fields()}
        is_bound = related._meta.model_name == "organization" or "organization" in names
        return (entry, VisibleRelatedFilter) if is_bound else entry

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        visible = _person(request).visible_organization_ids()
        return rows if visible is None else rows.filter(**{f"{self.organization_path}__in": visible})

    def get_paginator(self, request: HttpRequest, queryset: Any, per_page: int, *args: Any, **kwargs: Any) -> Any:
        # A table too large to be counted has a previous and a next page, no last one.
        kind = InfinitePaginator if self.is_huge else Paginator
        return kind(queryset, per_page, *args, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if isinstance(db_field, models.JSONField) and not db_field.null:
            kwargs["form_class"] = FilledJsonField
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(field, FilledJsonField):
            field.blank = db_field.get_default()
        elif isinstance(field, CharField):
            field.validators.append(check_lines if isinstance(db_field, models.TextField) else check_line)
        return field

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer only rows of the person's organizations to choose from."""
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        visible = _person(request).visible_organization_ids()
        if field is not None and visible is not None and field.queryset is not None:
            names = {f.name for f in field.queryset.model._meta.get_fields()}
            if field.queryset.model._meta.model_name == "organization":
                field.queryset = field.queryset.filter(pk__in=visible)
            elif "organization" in names:
                field.queryset = field.queryset.filter(organization_id__in=visible)
        return field

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        """Link to a row from its first column that is no link itself: one within another leaves an empty one."""
        own = [name for name in list_display if not str(name).endswith("_page")]
        return self.list_display_links or own[:1]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Offer only the buttons that the row's state lets do something."""
        row = self.get_object(request, str(object_id))
        offered: list[Any] = super().get_actions_detail(request, object_id)
        return [a for a in offered if row is None or getattr(a.method, "fits", None) is None or a.method.fits(row)]

    # Rights. Django's model permissions are not used: what a person may do follows from the role.

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "view", obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.change_right is not None and self.allows(request, self.change_right, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.add_right is not None and self.allows(request, self.add_right)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self.allows(request, "export")

    def has_edit_customer_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "edit_customer", obj)

    def has_manage_subscription_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "manage_subscription", obj)

    def has_bill_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "bill", obj)

    def has_edit_catalog_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "edit_catalog", obj)

    def has_develop_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "develop", obj)

    def has_administer_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, "administer", obj)

    def allows(self, request: HttpRequest, right: str, obj: Any = None) -> bool:
        """Whether the person may do this to a row, given as an object or (by the skin) as its key in text."""
        person = _person(request)
        if not getattr(person, "is_active", False) or not getattr(person, "is_staff", False):
            return False
        if obj is None:
            return person.has_right(right)
        organization_id = self.organization_of(obj)
        return person.has_right(right, organization_id) if organization_id is not None else person.is_superuser

    def organization_of(self, obj: Any) -> int | None:
        """Give the organization a row belongs to."""
        if not isinstance(obj, Model):
            found = self.model._default_manager.filter(pk=unquote(str(obj))).values_list(
                self.organization_path, flat=True
            )
            return cast("int | None", found.first()) if str(obj).isdigit() else None
        value: Any = obj
        for part in self.organization_path.split("__"):
            value = getattr(value, part, None)
        return cast("int | None", value)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Show every change of a row as the database's triggers saw it, bulk changes too."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        if not self.allows(request, "see_audit", row):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": f"History of {row}",
            "opts": self.opts,
            "object": row,
            "changes": [_change(event) for event in history_of(row)[:200]],
        }
        return TemplateResponse(request, "kernel/history.html", context)


class ReadOnlyModelAdmin(BillingModelAdmin):
    """A screen of rows that nobody edits; what changes them are actions that run a use-case."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        declared = super().get_readonly_fields(request, obj)
        return [*declared, *(f.name for f in self.opts.fields if f.name not in declared)]


def history_of(row: Model) -> QuerySet[Any]:
    """Give the tracked changes of a row, the newest first; empty for what is not tracked."""
    if not hasattr(row, "pgh_event_model") and not _is_tracked(row):
        return cast("QuerySet[Any]", pghistory.models.Events.objects.none())
    return cast("QuerySet[Any]", _events().tracks(row).order_by("-pgh_created_at", "-pgh_slug"))


def _events() -> Any:
    return pghistory.models.Events.objects


def _is_tracked(row: Model) -> bool:
    return any(
        getattr(model, "pgh_tracked_model", None) is type(row)
        for model in (relation.related_model for relation in row._meta.related_objects)
    )


def _change(event: Any) -> dict[str, Any]:
    context = event.pgh_context or {}
    diff = event.pgh_diff or {}
    return {
        "at": event.pgh_created_at,
        "label": {"insert": "Created", "update": "Changed"}.get(event.pgh_label, event.pgh_label),
        "user": context.get("user"),
        "api_key": context.get("api_key"),
        "url": context.get("url"),
        "fields": [(name, old, new) for name, (old, new) in diff.items() if name != "updated_at"],
    }


def _person(request: HttpRequest) -> Person:
    return cast("Person", request.user)
