import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

_django = get_wsgi_application()

from django.urls import get_resolver  # noqa: E402 - apps exist only from here on

from apps.entitlements.api.wsgi import with_checks  # noqa: E402
from apps.metering.api.wsgi import with_ingest  # noqa: E402

application = with_ingest(with_checks(_django))

# All pages are loaded now rather than while the first caller waits.
get_resolver().url_patterns  # noqa: B018

# A batch of events makes thousands of short-lived objects without cycles; looking for cycles among them at every
# seven hundred, and through all that was loaded, costs a third of the time.
gc.collect()
gc.freeze()
gc.set_threshold(100_000, 20, 50)
