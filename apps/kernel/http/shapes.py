"""Shapes that many answers share, for the schema."""

from functools import cache
from typing import Any

from rest_framework import serializers


class PaginationSerializer(serializers.Serializer[Any]):
    limit = serializers.IntegerField()
    offset = serializers.IntegerField()
    total = serializers.IntegerField()


@cache
def page_of(item: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """Give the serializer of one page of a list, for the schema."""
    return type(
        item.__name__.removesuffix("Serializer") + "PageSerializer",
        (serializers.Serializer,),
        {
            "object": serializers.CharField(default="list"),
            "data": item(many=True),
            "pagination": PaginationSerializer(),
        },
    )
