from django.urls import path

from apps.taxes.api import exemptions, rates, registrations

urlpatterns = [
    path("v0/taxRegistrations", registrations.RegistrationList.as_view()),
    path("v0/taxRegistrations/<str:public_id>", registrations.RegistrationDetail.as_view()),
    path("v0/taxCategories", rates.CategoryList.as_view()),
    path("v0/taxCategories/<str:public_id>", rates.CategoryDetail.as_view()),
    path("v0/taxRates", rates.RateList.as_view()),
    path("v0/taxRates/<str:public_id>", rates.RateDetail.as_view()),
    path("v0/taxExemptions", exemptions.ExemptionList.as_view()),
    path("v0/taxExemptions/<str:public_id>", exemptions.ExemptionDetail.as_view()),
]
