from apps.taxes.models.exemption import TaxExemption
from apps.taxes.models.rate import RateKind, TaxCategory, TaxRate
from apps.taxes.models.registration import Businesses, Scheme, TaxRegistration
from apps.taxes.models.treatment import TaxTreatment

__all__ = [
    "Businesses",
    "RateKind",
    "Scheme",
    "TaxCategory",
    "TaxExemption",
    "TaxRate",
    "TaxRegistration",
    "TaxTreatment",
]
