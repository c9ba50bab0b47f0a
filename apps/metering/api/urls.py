from django.urls import path

from apps.metering.api.ingest import BATCH_PATH, EVENT_PATH, IngestView
from apps.metering.api.usage import MetricEvents, MetricUsage

urlpatterns = [
    path(EVENT_PATH[1:], IngestView.as_view()),
    path(BATCH_PATH[1:], IngestView.as_view()),
    path("v0/billableMetrics/<str:public_id>/meter", MetricUsage.as_view()),
    path("v0/billableMetrics/<str:public_id>/events", MetricEvents.as_view()),
]
