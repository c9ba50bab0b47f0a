from django.urls import path

from apps.customers.api.customers import CustomerDetail, CustomerList

urlpatterns = [
    path("v0/customers", CustomerList.as_view()),
    path("v0/customers/<str:public_id>", CustomerDetail.as_view()),
]
