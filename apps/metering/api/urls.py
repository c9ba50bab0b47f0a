from django.urls import path

from apps.metering.api.ingest import EventBatchIngest, EventIngest
from apps.metering.api.usage import MetricEvents, MetricUsage

urlpatterns = [
    path("v0/events", EventIngest.as_view()),
    path("v0/events/batch", EventBatchIngest.as_view()),
    path("v0/billableMetrics/<str:public_id>/meter", MetricUsage.as_view()),
    path("v0/billableMetrics/<str:public_id>/events", MetricEvents.as_view()),
]
