from django.urls import path

from apps.organizations.api.details import BillingDetails
from apps.organizations.api.invoicing import InvoiceSettings
from apps.organizations.api.users import UserDetail

urlpatterns = [
    path("v0/organizations/<str:public_id>/billingDetails", BillingDetails.as_view()),
    path("v0/organizations/<str:public_id>/invoiceSettings", InvoiceSettings.as_view()),
    path("v0/users/<str:public_id>", UserDetail.as_view()),
]
