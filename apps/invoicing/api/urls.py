from django.urls import path

from apps.invoicing.api import adjustments, changes, coupons, invoices, spend, subscriptions
from apps.invoicing.api.checkout import checkout

urlpatterns = [
    path("v0/subscriptions", subscriptions.SubscriptionList.as_view()),
    path("v0/subscriptions/<str:public_id>", subscriptions.SubscriptionDetail.as_view()),
    path("v0/subscriptions/<str:public_id>/termination", subscriptions.SubscriptionTermination.as_view()),
    path("v0/subscriptions/<str:public_id>/versionMigration", changes.VersionMigration.as_view()),
    path("v0/subscriptions/<str:public_id>/pause", changes.SubscriptionPausing.as_view()),
    path("v0/subscriptions/<str:public_id>/resume", changes.SubscriptionResumption.as_view()),
    path("v0/subscriptions/<str:public_id>/cancellation", changes.SubscriptionCancellation.as_view()),
    path("v0/subscriptions/<str:public_id>/planChange", changes.PlanChange.as_view()),
    path("v0/subscriptions/<str:public_id>/planChange/preview", changes.PlanChangePreview.as_view()),
    path("v0/subscriptions/<str:public_id>/adjustments", adjustments.AdjustmentList.as_view()),
    path("v0/subscriptions/<str:public_id>/adjustments/<str:adjustment_id>", adjustments.AdjustmentDetail.as_view()),
    path("v0/subscriptions/<str:public_id>/coupons", coupons.SubscriptionCouponList.as_view()),
    path("v0/subscriptions/<str:public_id>/coupons/<str:applied_id>", coupons.SubscriptionCouponDetail.as_view()),
    path("v0/subscriptions/<str:public_id>/spendAgreements", spend.SpendAgreementList.as_view()),
    path("v0/subscriptions/<str:public_id>/spendAgreements/<str:agreement_id>", spend.SpendAgreementDetail.as_view()),
    path("v0/customers/<str:public_id>/coupons", coupons.CustomerCouponList.as_view()),
    path("v0/customers/<str:public_id>/coupons/<str:applied_id>", coupons.CustomerCouponDetail.as_view()),
    path("v0/coupons/<str:public_id>/redemptions", coupons.RedemptionList.as_view()),
    path("v2/invoices", invoices.InvoiceList.as_view()),
    path("v2/invoices/lineItems", invoices.LineItemList.as_view()),
    path("v2/invoices/projected", invoices.ProjectedInvoiceList.as_view()),
    path("v2/invoices/<str:public_id>", invoices.InvoiceDetail.as_view()),
    path("v2/invoices/<str:public_id>/lineItems", invoices.InvoiceLineList.as_view()),
    path("v2/invoices/<str:public_id>/payment", invoices.InvoicePayment.as_view()),
    path("checkout/<str:public_id>", checkout, name="checkout"),
]
