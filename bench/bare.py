"""A bare Django view to compare with: a body is read, one row is selected by an index, JSON goes back.

No middleware, no key, no tenancy: what is left of a call when nothing is asked of it.
"""

import json
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from config.env import database

settings.configure(
    DEBUG=False,
    SECRET_KEY="bare",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[],
    DATABASES={"default": database(os.environ["DATABASE_URL"])},
    USE_TZ=True,
)


def select_one(request: HttpRequest) -> HttpResponse:
    asked = json.loads(request.body)["questions"][0]
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, created_at FROM customers_customer WHERE public_id = %s", [asked["customerId"]])
        row = cursor.fetchone()
    return JsonResponse({"object": "list", "data": [{"index": 0, "allowed": row is not None}]})


urlpatterns = [path("v1/entitlements/check", select_one)]
application = get_wsgi_application()
