from django.urls import path

from apps.metering.api.corrections import EventVoidList, MetricBackfills, VoidEvents, VoidJobDetail, VoidJobList
from apps.metering.api.ingest import BATCH_PATH, EVENT_PATH, IngestView
from apps.metering.api.parking import ParkedDiscard, ParkedList, ParkedRelease
from apps.metering.api.usage import MetricEvents, MetricUsage
from apps.metering.api.verdicts import EventConflicts, EventStatuses

urlpatterns = [
    path(EVENT_PATH[1:], IngestView.as_view()),
    path(BATCH_PATH[1:], IngestView.as_view()),
    path("v0/events/status", EventStatuses.as_view()),
    path("v0/events/conflicts", EventConflicts.as_view()),
    path("v0/events/void", VoidEvents.as_view()),
    path("v0/events/voids", EventVoidList.as_view()),
    path("v0/events/voidJobs", VoidJobList.as_view()),
    path("v0/events/voidJobs/<str:public_id>", VoidJobDetail.as_view()),
    path("v0/events/parked", ParkedList.as_view()),
    path("v0/events/parked/release", ParkedRelease.as_view()),
    path("v0/events/parked/discard", ParkedDiscard.as_view()),
    path("v0/billableMetrics/<str:public_id>/meter", MetricUsage.as_view()),
    path("v0/billableMetrics/<str:public_id>/events", MetricEvents.as_view()),
    path("v0/billableMetrics/<str:public_id>/backfill", MetricBackfills.as_view()),
]
