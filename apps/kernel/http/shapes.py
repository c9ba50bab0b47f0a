"""Shapes that many answers share, for the schema."""

from typing import Any

from rest_framework import serializers


class PaginationSerializer(serializers.Serializer[Any]):
    limit = serializers.IntegerField()
    offset = serializers.IntegerField()
    total = serializers.IntegerField()


def page_of(item: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """Give the serializer of one page of a list, for the schema."""
    return type(
        item.__name__.replace("Serializer", "PageSerializer"),
        (serializers.Serializer,),
        {
            "object": serializers.CharField(default="list"),
            "data": item(many=True),
            "pagination": PaginationSerializer(),
        },
    )
