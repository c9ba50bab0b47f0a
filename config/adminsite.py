"""What third parties bring to the admin, under our skin and our rights; loaded after all of it is registered."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django_celery_beat.admin import ClockedScheduleAdmin as ClockedBase
from django_celery_beat.admin import CrontabScheduleAdmin as CrontabBase
from django_celery_beat.admin import PeriodicTaskAdmin as PeriodicBase
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.admin import ModelAdmin

admin.site.index_title = "Overview"


def _person(request: HttpRequest) -> Any:
    return request.user


class OwnersOnly:
    """Screens of the whole installation: looked at by every member of staff, changed by owners."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        person = _person(request)
        return bool(person.is_authenticated and (person.has_right("develop") or person.has_right("administer")))

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return bool(_person(request).has_right("administer"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(_person(request).has_right("administer"))

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


BEAT_MODELS = (PeriodicTask, IntervalSchedule, CrontabSchedule, SolarSchedule, ClockedSchedule)
for model in (Group, *BEAT_MODELS):
    # Rights follow from roles, so that groups would be a second, silent authority.
    admin.site.unregister(model)


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(OwnersOnly, PeriodicBase, ModelAdmin):
    pass


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(OwnersOnly, ModelAdmin):
    pass


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(OwnersOnly, CrontabBase, ModelAdmin):
    pass


@admin.register(SolarSchedule)
class SolarScheduleAdmin(OwnersOnly, ModelAdmin):
    pass


@admin.register(ClockedSchedule)
class ClockedScheduleAdmin(OwnersOnly, ClockedBase, ModelAdmin):
    pass
