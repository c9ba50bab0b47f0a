from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class KernelConfig(AppConfig):
    name = "apps.kernel"
    label = "kernel"
    verbose_name = "Kernel"

    def ready(self) -> None:
        # Each app's `handlers` hangs it into the hooks of the apps below.
        autodiscover_modules("handlers")
