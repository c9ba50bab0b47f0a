from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

import config.adminsite
import config.reset_screen  # noqa: F401 - puts its buttons on pages of other apps
from apps.invoicing.admin.simulation import simulation_page
from config.celery import app as celery_app
from config.health import healthz, readyz
from config.metrics import metrics
from config.overview import home
from config.reset_endpoint import MerchantReset

# Tasks that views send must go to this app and its broker.
celery_app.set_default()

handler404 = "apps.kernel.http.exceptions.nothing_here"

urlpatterns = [
    # Browsers ask for this one on pages that name no icon, such as the API's description.
    path("favicon.ico", RedirectView.as_view(url="/static/metergate/icon.svg")),
    path("", home, name="home"),
    path("admin/simulation/", admin.site.admin_view(simulation_page), name="simulation"),
    path("admin/", admin.site.urls),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("", include("apps.organizations.api.urls")),
    path("", include("apps.customers.api.urls")),
    path("", include("apps.taxes.api.urls")),
    path("", include("apps.catalog.api.urls")),
    path("", include("apps.metering.api.urls")),
    path("", include("apps.subscriptions.api.urls")),
    # Buying grants comes before grants by their ids.
    path("", include("apps.invoicing.api.urls")),
    path("", include("apps.entitlements.api.urls")),
    path("", include("apps.documents.api.urls")),
    # Of all apps, so of none.
    path("v0/merchants/<str:public_id>/reset", MerchantReset.as_view()),
]
