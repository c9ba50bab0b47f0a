"""What a base leaves to the screens and forms made of it cannot be forgotten."""

import pytest
from django.contrib import admin

from apps.invoicing.admin.previews import AskingForm, PreviewForm
from apps.metering.admin.corrections import JobAdmin
from apps.metering.models import VoidJob


def test_a_dialog_that_does_not_say_what_it_shows_cannot_be_made() -> None:
    class Forgetful(PreviewForm):
        pass

    with pytest.raises(TypeError, match="previewed"):
        Forgetful()  # type: ignore[abstract]
    with pytest.raises(TypeError, match="shown"):
        AskingForm()  # type: ignore[abstract]


def test_a_screen_of_jobs_that_starts_none_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="start"):
        JobAdmin(VoidJob, admin.site)  # type: ignore[abstract]
