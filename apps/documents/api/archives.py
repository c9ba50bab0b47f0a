from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers

from apps.documents.api.invoices import DocumentView
from apps.documents.models import DocumentFormat
from apps.documents.services.archives import FIRST_YEAR, LAST_YEAR, Year, zip_of_year
from apps.kernel.errors import NotFoundError
from apps.kernel.http.ratelimit import limit_rate
from apps.kernel.http.views import Request
from apps.organizations.models import Organization

# A year keeps a core busy while it is read.
SECONDS_APART = 10


class ArchiveQuerySerializer(serializers.Serializer[Any]):
    year = serializers.IntegerField(
        min_value=FIRST_YEAR, max_value=LAST_YEAR, help_text="Of the merchant's own time zone."
    )
    format = serializers.ChoiceField(choices=DocumentFormat.values)


class DocumentArchive(DocumentView):
    @extend_schema(
        operation_id="downloadDocumentArchive",
        parameters=[ArchiveQuerySerializer],
        responses={
            (200, "application/zip"): OpenApiTypes.BINARY,
            404: OpenApiResponse(description="Nothing was issued in the year."),
        },
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Give all invoices and credit notes that were issued in a year as one zip, with an index."""
        asked = self.read_query(ArchiveQuerySerializer)
        limit_rate(name="documents.archive", caller=self.principal.key_id, calls=1, seconds=SECONDS_APART)
        found = Year(Organization.objects.get(pk=self.organization_id), asked["year"])
        if found.is_empty:
            raise NotFoundError(f"Nothing was issued in {asked['year']}.")
        return StreamingHttpResponse(
            zip_of_year(found, kind=asked["format"]),
            content_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{found.file_name(asked["format"])}"'},
        )
