import pytest
from django.db import transaction

from apps.metering.models import Subject
from apps.metering.services.interning import forget_interned, intern_subjects
from tests.world import make_world


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_number_is_not_remembered() -> None:
    forget_interned()
    name = (make_world().merchant.pk, False, "cus_x")

    class RolledBackError(Exception):
        pass

    def lose() -> None:
        with transaction.atomic():
            intern_subjects([name])
            raise RolledBackError

    with pytest.raises(RolledBackError):
        lose()
    key = intern_subjects([name])[name]
    assert Subject.objects.get(pk=key).value == "cus_x"
    assert intern_subjects([name])[name] == key
