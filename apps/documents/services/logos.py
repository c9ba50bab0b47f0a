"""A merchant's picture on its documents."""

import hashlib
import re
import struct
import zlib

import typst
from django.db import transaction

from apps.documents.models import Logo
from apps.documents.services.typesetting import try_image
from apps.kernel.errors import FieldError, InvalidError
from apps.organizations.models import Organization

LARGEST_BYTES = 512 * 1024
LONGEST_SIDE = 4000
# Those of screens and cameras have a few KiB; a PNG has its own compressed.
LARGEST_PROFILE_BYTES = 1024 * 1024
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Every frame of a JPEG, as each reader may go by another: height, then width.
FRAME = re.compile(rb"(?=\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]..[\x08\x0c](....)[\x01-\x04])", re.DOTALL)


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
        media_type, sides = "image/png", [struct.unpack(">II", content[16:24])]
        if _profile_is_large(content):
            raise _bad("The colour profile of the picture is too large; save the picture without one.")
    elif content.startswith(JPEG):
        media_type, sides = "image/jpeg", [struct.unpack(">HH", frame) for frame in FRAME.findall(content)]
    else:
        raise _bad("Give a PNG or a JPEG.")
    # Known before it is unpacked, so that a small file cannot become a huge picture.
    if not all(0 < side <= LONGEST_SIDE for pair in sides for side in pair):
        raise _bad(f"Give a picture of at most {LONGEST_SIDE} × {LONGEST_SIDE} pixels.")
    try:
        try_image(content, media_type.removeprefix("image/"))
    except typst.TypstError as error:
        raise _bad(f"The picture cannot be read: {error.message}") from None
    return media_type


def _profile_is_large(content: bytes) -> bool:
    """Whether the colour profile of a PNG unpacks to more than one has; the typesetter unpacks all of it."""
    at = len(PNG)
    while at + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        if kind == b"iCCP":
            # Its name, a zero, the method, and what is compressed.
            packed = content[at + 8 : at + 8 + length].partition(b"\0")[2][1:]
            try:
                unpacked = zlib.decompressobj().decompress(packed, LARGEST_PROFILE_BYTES + 1)
            except zlib.error:
                return False
            if len(unpacked) > LARGEST_PROFILE_BYTES:
                return True
        at += 12 + length
    return False


def _bad(message: str) -> InvalidError:
    return InvalidError(message, errors=[FieldError("logo", message, "invalid")])
