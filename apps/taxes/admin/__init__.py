from apps.taxes.admin.screens import (
    TaxCategoryAdmin,
    TaxExemptionAdmin,
    TaxRateAdmin,
    TaxRegistrationAdmin,
    TaxTreatmentAdmin,
)

__all__ = [
    "TaxCategoryAdmin",
    "TaxExemptionAdmin",
    "TaxRateAdmin",
    "TaxRegistrationAdmin",
    "TaxTreatmentAdmin",
]
