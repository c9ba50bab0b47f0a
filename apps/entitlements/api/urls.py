from django.urls import path

from apps.entitlements.api import checks, entitlements, grants, pools, reconciling, resets, slots

urlpatterns = [
    path("v0/subscriptions/<str:public_id>/reconciliations", reconciling.Reconciliation.as_view()),
    path("v1/entitlements", entitlements.EntitlementList.as_view()),
    path("v1/entitlements/check", checks.Check.as_view()),
    path("v1/entitlements/<str:public_id>", entitlements.EntitlementDetail.as_view()),
    path("v1/entitlements/<str:public_id>/grants", grants.GrantList.as_view()),
    path("v1/entitlements/<str:public_id>/grants/<str:grant_id>", grants.GrantDetail.as_view()),
    path("v1/entitlements/<str:public_id>/reset", resets.EntitlementReset.as_view()),
    path("v1/entitlements/<str:public_id>/resets", resets.ResetList.as_view()),
    path("v1/pricingUnits/<str:public_id>/pools", pools.PoolList.as_view()),
    path("v1/pricingUnits/<str:public_id>/grants", pools.CreditGrantList.as_view()),
    path("v1/pricingUnits/<str:public_id>/grants/<str:grant_id>", pools.CreditGrantDetail.as_view()),
    path("v1/entitlements/<str:public_id>/bursts", slots.BurstList.as_view()),
    path("v1/entitlements/<str:public_id>/bursts/<str:burst_id>", slots.BurstDetail.as_view()),
    path("v1/entitlements/<str:public_id>/slots", slots.SlotUseDetail.as_view()),
    path("v1/slots", slots.SlotList.as_view()),
    path("v1/slots/<str:public_id>", slots.SlotDetail.as_view()),
    path("v1/slots/<str:public_id>/heartbeat", slots.SlotHeartbeat.as_view()),
    path("v1/slots/<str:public_id>/release", slots.SlotRelease.as_view()),
    path("v1/reservations/<str:public_id>", checks.ReservationDetail.as_view()),
    path("v1/reservations/<str:public_id>/settlement", checks.ReservationSettlement.as_view()),
    path("v1/reservations/<str:public_id>/release", checks.ReservationRelease.as_view()),
]
