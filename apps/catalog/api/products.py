from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from apps.catalog.api import inputs
from apps.catalog.api.outputs import FeatureSerializer, FeeSerializer, MetricSerializer, ProductSerializer
from apps.catalog.models import Product
from apps.catalog.selectors.catalog import features_of, fees_of, metrics_of, products_of
from apps.catalog.services import products as services
from apps.kernel.clock import wall_now
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request

SCOPES = {
    "GET": "catalog:read",
    "POST": "catalog:write",
    "PATCH": "catalog:write",
    "DELETE": "catalog:write",
}
PAGE = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]
MERCHANT = OpenApiParameter("merchantId", str)
PRODUCT = OpenApiParameter("productId", str)


class CatalogView(ContractView):
    """Base of the catalogue's views."""

    scopes = SCOPES

    def product(self, public_id: str) -> Product:
        rows = products_of(organization_id=self.organization_id).select_related("organization")
        return self.get_own(rows, public_id, "product")

    def narrow_to_product(self, rows: Any) -> Any:
        product_id = self.request.query_params.get("productId")
        return rows.filter(product__public_id=product_id) if product_id else rows


class ProductList(CatalogView):
    @extend_schema(operation_id="listProducts", parameters=[MERCHANT, *PAGE], responses=page_of(ProductSerializer))
    def get(self, request: Request) -> Response:
        self.require_merchant(request.query_params.get("merchantId"))
        rows = products_of(organization_id=self.organization_id).select_related("organization")
        return Response(list_page(request, rows, lambda row: ProductSerializer(row).data))

    @extend_schema(
        operation_id="createProduct",
        request=inputs.CreateProductSerializer,
        responses={201: ProductSerializer},
    )
    def post(self, request: Request) -> Response:
        data = self.read(inputs.CreateProductSerializer)
        self.require_merchant(data["merchantId"])
        product = services.create_product(
            organization_id=self.organization_id,
            name=data["name"],
            description=data["description"],
            metadata=data.get("metadata", {}),
        )
        return Response(ProductSerializer(product).data, status=201)


class ProductDetail(CatalogView):
    @extend_schema(operation_id="getProduct", responses=ProductSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(ProductSerializer(self.product(public_id)).data)

    @extend_schema(operation_id="updateProduct", request=inputs.UpdateProductSerializer, responses=ProductSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        product = self.product(public_id)
        for name, value in self.read(inputs.UpdateProductSerializer).items():
            setattr(product, name, value)
        product.save()
        return Response(ProductSerializer(product).data)


class MetricList(CatalogView):
    @extend_schema(
        operation_id="listBillableMetrics",
        parameters=[OpenApiParameter("merchantId", str, required=True), PRODUCT, *PAGE],
        responses=page_of(MetricSerializer),
    )
    def get(self, request: Request) -> Response:
        self.require_merchant(self.require_query("merchantId"))
        rows = self.narrow_to_product(metrics_of(organization_id=self.organization_id))
        return Response(list_page(request, rows, lambda row: MetricSerializer(row).data))

    @extend_schema(
        operation_id="createBillableMetric",
        request=inputs.CreateMetricSerializer,
        responses={201: MetricSerializer},
    )
    def post(self, request: Request) -> Response:
        data = self.read(inputs.CreateMetricSerializer)
        self.require_merchant(data["merchantId"])
        rounding = data.get("rounding") or {}
        metric = services.create_metric(
            product=self.product(data["productId"]),
            name=data["name"],
            description=data["description"],
            unit=data["unit"],
            mode=data["mode"],
            aggregation=data.get("aggregation", ""),
            event_type=data.get("eventType", ""),
            value_property=data.get("valueProperty") or "",
            group_by=data.get("groupBy") or {},
            event_from=data.get("eventFrom"),
            rounding_function=rounding.get("function", ""),
            rounding_precision=rounding.get("precision", 0),
            tax_code=data.get("taxCode", ""),
        )
        return Response(MetricSerializer(metric).data, status=201)


class MetricDetail(CatalogView):
    NAMES = {
        "eventType": "event_type",
        "valueProperty": "value_property",
        "groupBy": "group_by",
        "eventFrom": "event_from",
        "taxCode": "tax_code",
    }
    CLEARED: dict[str, Any] = {"value_property": "", "group_by": {}}

    @extend_schema(operation_id="getBillableMetric", responses=MetricSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        rows = metrics_of(organization_id=self.organization_id)
        return Response(MetricSerializer(self.get_own(rows, public_id, "billable metric")).data)

    @extend_schema(
        operation_id="updateBillableMetric",
        request=inputs.UpdateMetricSerializer,
        responses=MetricSerializer,
    )
    def patch(self, request: Request, public_id: str) -> Response:
        metric = self.get_own(metrics_of(organization_id=self.organization_id), public_id, "billable metric")
        data = self.read(inputs.UpdateMetricSerializer)
        changes = {self.NAMES.get(name, name): value for name, value in data.items()}
        for name, cleared in self.CLEARED.items():
            if name in changes and changes[name] is None:
                changes[name] = cleared
        return Response(MetricSerializer(services.update_metric(metric_id=metric.pk, changes=changes)).data)


class FeeList(CatalogView):
    @extend_schema(
        operation_id="listFees",
        parameters=[OpenApiParameter("merchantId", str, required=True), PRODUCT, *PAGE],
        responses=page_of(FeeSerializer),
    )
    def get(self, request: Request) -> Response:
        self.require_merchant(self.require_query("merchantId"))
        rows = self.narrow_to_product(fees_of(organization_id=self.organization_id))
        return Response(list_page(request, rows, lambda row: FeeSerializer(row).data))

    @extend_schema(operation_id="createFee", request=inputs.CreateFeeSerializer, responses={201: FeeSerializer})
    def post(self, request: Request) -> Response:
        data = self.read(inputs.CreateFeeSerializer)
        self.require_merchant(data["merchantId"])
        fee = services.create_fee(
            product=self.product(data["productId"]),
            name=data["name"],
            description=data["description"],
            tax_code=data.get("taxCode", ""),
        )
        return Response(FeeSerializer(fee).data, status=201)


class FeeDetail(CatalogView):
    @extend_schema(operation_id="getFee", responses=FeeSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        rows = fees_of(organization_id=self.organization_id)
        return Response(FeeSerializer(self.get_own(rows, public_id, "fee")).data)

    @extend_schema(operation_id="updateFee", request=inputs.UpdateFeeSerializer, responses=FeeSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        fee = self.get_own(fees_of(organization_id=self.organization_id), public_id, "fee")
        for name, value in self.read(inputs.UpdateFeeSerializer).items():
            setattr(fee, {"taxCode": "tax_code"}.get(name, name), value)
        fee.save()
        return Response(FeeSerializer(fee).data)

    @extend_schema(operation_id="deleteFee", responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        fee = self.get_own(fees_of(organization_id=self.organization_id), public_id, "fee")
        services.delete_fee(fee_id=fee.pk, as_of=wall_now())
        return Response(status=204)


class FeatureList(CatalogView):
    @extend_schema(
        operation_id="listFeatures",
        parameters=[OpenApiParameter("productId", str, required=True), OpenApiParameter("key", str), *PAGE],
        responses=page_of(FeatureSerializer),
    )
    def get(self, request: Request) -> Response:
        product = self.product(self.require_query("productId"))
        rows = features_of(organization_id=self.organization_id).filter(product=product)
        key = request.query_params.get("key")
        if key:
            rows = rows.filter(key=key)
        return Response(list_page(request, rows, lambda row: FeatureSerializer(row).data))

    @extend_schema(
        operation_id="createFeature",
        request=inputs.CreateFeatureSerializer,
        responses={201: FeatureSerializer},
    )
    def post(self, request: Request) -> Response:
        data = self.read(inputs.CreateFeatureSerializer)
        self.require_merchant(data["merchantId"])
        feature = services.create_feature(
            product=self.product(data["productId"]),
            key=data["key"],
            name=data["name"],
            type=data["type"],
            metadata=data.get("metadata", {}),
        )
        return Response(FeatureSerializer(feature).data, status=201)


class FeatureDetail(CatalogView):
    @extend_schema(operation_id="getFeature", responses=FeatureSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        rows = features_of(organization_id=self.organization_id)
        return Response(FeatureSerializer(self.get_own(rows, public_id, "feature")).data)

    @extend_schema(operation_id="updateFeature", request=inputs.UpdateFeatureSerializer, responses=FeatureSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        feature = self.get_own(features_of(organization_id=self.organization_id), public_id, "feature")
        changed = services.update_feature(feature=feature, changes=self.read(inputs.UpdateFeatureSerializer))
        return Response(FeatureSerializer(changed).data)

    @extend_schema(operation_id="deleteFeature", responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        feature = self.get_own(features_of(organization_id=self.organization_id), public_id, "feature")
        services.delete_feature(feature=feature, as_of=wall_now())
        return Response(status=204)


def required(field: str, message: str) -> InvalidError:
    return InvalidError(message, errors=[FieldError(field, message, "required")])
