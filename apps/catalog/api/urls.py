from django.urls import path

from apps.catalog.api import coupons, feeds, prices, products, units, versions

urlpatterns = [
    path("v0/products", products.ProductList.as_view()),
    path("v0/products/<str:public_id>", products.ProductDetail.as_view()),
    path("v0/billableMetrics", products.MetricList.as_view()),
    path("v0/billableMetrics/<str:public_id>", products.MetricDetail.as_view()),
    path("v0/fees", products.FeeList.as_view()),
    path("v0/fees/<str:public_id>", products.FeeDetail.as_view()),
    path("v0/features", products.FeatureList.as_view()),
    path("v0/features/<str:public_id>", products.FeatureDetail.as_view()),
    path("v0/rateFeeds", feeds.FeedList.as_view()),
    path("v0/rateFeeds/<str:public_id>", feeds.FeedDetail.as_view()),
    path("v0/rateFeeds/<str:public_id>/rates", feeds.FeedRates.as_view()),
    path("v0/prices", prices.PriceList.as_view()),
    path("v0/prices/<str:public_id>", prices.PriceDetail.as_view()),
    path("v0/coupons", coupons.CouponList.as_view()),
    path("v0/coupons/<str:public_id>", coupons.CouponDetail.as_view()),
    path("v0/coupons/<str:public_id>/archive", coupons.CouponArchive.as_view()),
    path("v0/plans", prices.PlanList.as_view()),
    path("v0/plans/available", prices.AvailablePlanList.as_view()),
    path("v0/plans/<str:public_id>", prices.PlanDetail.as_view()),
    path("v0/plans/<str:public_id>/versions", versions.PlanVersionList.as_view()),
    path("v0/plans/<str:public_id>/versions/<str:number>", versions.PlanVersionDetail.as_view()),
    path("v1/pricingUnits", units.UnitList.as_view()),
    path("v1/pricingUnits/<str:public_id>", units.UnitDetail.as_view()),
    path("v1/pricingUnits/<str:public_id>/archive", units.UnitArchive.as_view()),
]
