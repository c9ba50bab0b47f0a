from django.urls import path

from apps.subscriptions.api.test_clocks import TestClockDetail, TestClockList

urlpatterns = [
    path("v0/testClocks", TestClockList.as_view()),
    path("v0/testClocks/<str:public_id>", TestClockDetail.as_view()),
]
