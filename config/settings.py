"""Django settings; every value that differs between machines comes typed from `config.env`."""

import os
from pathlib import Path

from config.env import Environment
from config.schedule import SCHEDULE
from config.unfold import UNFOLD as ADMIN_SKIN

BASE_DIR = Path(__file__).resolve().parent.parent
ENV = Environment.read(os.environ)

DEBUG = ENV.debug
SECRET_KEY = ENV.secret_key
ALLOWED_HOSTS = ENV.allowed_hosts
BASE_URL = ENV.base_url
CSRF_TRUSTED_ORIGINS = [BASE_URL]

INSTALLED_APPS = [
    # Ours first, so that our templates win over those of the admin skin.
    "apps.kernel",
    "apps.outbox",
    "apps.organizations",
    "apps.customers",
    "apps.taxes",
    "apps.catalog",
    "apps.metering",
    "apps.subscriptions",
    "apps.entitlements",
    "apps.invoicing",
    "apps.documents",
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "unfold.contrib.inlines",
    "unfold.contrib.import_export",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "import_export",
    "pgtrigger",
    "pghistory",
    "pghistory.admin",
    "djmoney",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "apps.kernel.http.middleware.RequestIdMiddleware",
    "apps.kernel.http.middleware.PlainAddressMiddleware",
    # A Bearer key becomes `request.principal`; POSTs with an Idempotency-Key are answered once.
    "apps.organizations.api.middleware.ApiKeyMiddleware",
    "apps.organizations.api.middleware.IdempotencyMiddleware",
    "apps.organizations.api.middleware.HistoryContextMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
# The wire contract's paths have no trailing slash, and a redirected POST would arrive as a GET.
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": ENV.database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": ENV.redis_url},
}

AUTH_USER_MODEL = "organizations.User"
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = ["config.formats"]
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Served straight from the packages, so that no collect step stands between a checkout and a page.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "SAMEORIGIN"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BASE_URL.startswith("https://")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.kernel.http.authentication.PrincipalAuthentication"],
    # Deny by default: a view opens itself by naming its scopes.
    "DEFAULT_PERMISSION_CLASSES": ["apps.kernel.http.permissions.ScopePermission"],
    "DEFAULT_RENDERER_CLASSES": ["apps.kernel.http.renderers.ContractJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["apps.kernel.http.parsers.ContractJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "apps.kernel.http.schema.ContractSchema",
    "EXCEPTION_HANDLER": "apps.kernel.http.exceptions.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": True,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Metergate API",
    "DESCRIPTION": "Meter what customers consume, price it, bill for it.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "CAMELIZE_NAMES": False,
    "APPEND_COMPONENTS": {
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "sk_test_… or sk_live_…"}}
    },
    "SECURITY": [{"bearer": []}],
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "ENUM_NAME_OVERRIDES": {
        "FeatureTypeEnum": [("boolean", "boolean"), ("static", "static"), ("metered", "metered")],
        "EntitlementStatusEnum": [("active", "active"), ("canceled", "canceled"), ("expired", "expired")],
        "ReservationStatusEnum": [
            ("held", "held"),
            ("settled", "settled"),
            ("released", "released"),
            ("expired", "expired"),
        ],
        "SlotStatusEnum": [("held", "held"), ("released", "released"), ("expired", "expired"), ("forced", "forced")],
        "ResetScopeEnum": [("merchant", "merchant"), ("customer", "customer")],
        "AlertScopeEnum": [("period", "period"), ("lifetime", "lifetime")],
        "NotAllowedReasonEnum": [("not_entitled", "not_entitled"), ("limit_reached", "limit_reached")],
        "ParkReasonEnum": [("too_late", "too_late"), ("too_early", "too_early")],
        "PersonTypeEnum": [("COMPANY", "COMPANY"), ("INDIVIDUAL", "INDIVIDUAL")],
        "ProrationEnum": [("second", "second"), ("day", "day"), ("none", "none")],
        "AlertTypeEnum": [("usage_amount", "usage_amount"), ("usage_quantity", "usage_quantity")],
        "SpendTypeEnum": [("minimumCommitment", "minimumCommitment"), ("spendCap", "spendCap")],
        "TransitionProrationEnum": [("none", "none")],
        "EventJobStatusEnum": "apps.metering.models.corrections.JobStatus",
        "MigrationTimingEnum": [("next_period", "next_period"), ("immediate", "immediate")],
        "ChangeTimingEnum": [("now", "now"), ("period_end", "period_end")],
        "CreditNoteStatusEnum": [("ISSUED", "ISSUED"), ("VOIDED", "VOIDED")],
        "KeyStateEnum": "apps.metering.selectors.verdicts.KeyState",
        "GrantPurchaseStatusEnum": "apps.invoicing.models.purchase.PurchaseStatus",
        "TaxRateKindEnum": [(kind, kind) for kind in ("standard", "reduced", "zero", "exempt")],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "apps.metering.api.schema.describe_ingest",
    ],
}

REDIS_URL = ENV.redis_url
CELERY_BROKER_URL = ENV.broker_url
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"metering.merge*": {"queue": "merge"}}
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
CELERY_BEAT_SCHEDULE = SCHEDULE
CELERY_TASK_ALWAYS_EAGER = False
# Celery would close the connection before and after every task, and a new one costs more than most tasks do; after so
# many it still does. `config.celery` looks after it in between.
CELERY_DB_REUSE_MAX = 1_000_000
# A hidden message returns after this; everything is idempotent, so sooner is better than later.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 300}

# Where accepted events are durable first, and where raw events are read; empty means PostgreSQL for both.
EVENT_LOG_URL = ENV.event_log.url
EVENT_LOG_STREAM = ENV.event_log.stream
EVENT_LOG_REPLICAS = ENV.event_log.replicas
EVENT_LOG_SHARDS = ENV.event_log.shards
EVENT_LOG_ACK_SECONDS = ENV.event_log.ack_seconds
# How long a reader that wants everything counted waits until the log is read.
EVENT_LOG_WAIT_SECONDS = 10.0
EVENT_STORE_URL = ENV.event_store_url

# The ordered work that time makes due; the wall clock and test clocks run the same list.
LIFECYCLE_STEPS = "config.lifecycle.STEPS"

# What `manage.py doctor` looks at.
DOCTOR_CHECKS = "config.doctor.CHECKS"

# How long advancing a test clock may keep its caller waiting; published clients give up after 5 s.
TEST_CLOCK_WAIT_SECONDS = 3.5

# Events a second that one API key may send, and how many may wait to be merged before callers are asked to wait.
INGEST_KEY_RATE = ENV.ingest_key_rate
INGEST_STAGED_LIMIT = ENV.ingest_staged_limit
# Who may read /metrics from elsewhere; without one only callers on this machine may.
METRICS_TOKEN = ENV.metrics_token

UNFOLD = ADMIN_SKIN
IMPORT_EXPORT_ESCAPE_FORMULAE_ON_EXPORT = True
PGHISTORY_ADMIN_ALL_EVENTS = False

SHARED_DIR = ENV.shared_dir
VAR_DIR = ENV.var_dir

# How long raw events and the keys that tell repeats are kept, in days; 0 is for ever.
RAW_EVENT_DAYS = ENV.raw_event_days
EVENT_KEY_DAYS = ENV.event_key_days
EXPORT_DIR = ENV.export_dir

# A folder with fonts beside those that come along, for scripts that these do not have.
DOCUMENT_FONTS = ENV.document_fonts

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "apps.kernel.http.middleware.RequestIdFilter"}},
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request_id"]},
    },
    # It tells of every document it touches.
    "loggers": {"factur-x": {"level": "WARNING"}},
    "root": {"handlers": ["stderr"], "level": ENV.log_level},
}
