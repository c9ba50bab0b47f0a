"""A merchant's picture on its documents."""

import hashlib
import struct

import typst
from django.db import transaction

from apps.documents.models import Logo
from apps.documents.services.typesetting import try_image
from apps.kernel.errors import FieldError, InvalidError
from apps.organizations.models import Organization

LARGEST_BYTES = 512 * 1024
LONGEST_SIDE = 4000
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


@transaction.atomic
def set_logo(*, organization: Organization, content: bytes) -> Logo:
    """Put a picture on what is issued from now on; issued documents keep theirs.

    Raises:
        InvalidError: it is not a PNG or JPEG that documents can show.
    """
    media_type = check_logo(content)
    # The merchant's row serialises two uploads at once.
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    digest = hashlib.sha256(content).hexdigest()
    Logo.objects.filter(organization=organization, is_current=True).exclude(digest=digest).update(is_current=False)
    logo, _ = Logo.objects.update_or_create(
        organization=organization,
        digest=digest,
        defaults={"is_current": True},
        create_defaults={"content": content, "media_type": media_type},
    )
    return logo


@transaction.atomic
def remove_logo(*, organization: Organization) -> None:
    """Issue documents without a picture from now on."""
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    Logo.objects.filter(organization=organization, is_current=True).update(is_current=False)


def check_logo(content: bytes) -> str:
    """Give the media type of a picture.

    Raises:
        InvalidError: it is too large, of another kind, or broken.
    """
    if len(content) > LARGEST_BYTES:
        raise _bad(f"Give a picture of at most {LARGEST_BYTES // 1024} KiB.")
    if content.startswith(PNG) and len(content) >= 24:
        media_type = "image/png"
        # Known before it is unpacked, so that a small file cannot become a huge picture.
        width, height = struct.unpack(">II", content[16:24])
        if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
            raise _bad(f"Give a picture of at most {LONGEST_SIDE} × {LONGEST_SIDE} pixels.")
    elif content.startswith(JPEG):
        media_type = "image/jpeg"
    else:
        raise _bad("Give a PNG or a JPEG.")
    try:
        try_image(content, media_type.removeprefix("image/"))
    except typst.TypstError as error:
        raise _bad(f"The picture cannot be read: {error.message}") from None
    return media_type


def _bad(message: str) -> InvalidError:
    return InvalidError(message, errors=[FieldError("logo", message, "invalid")])
