"""What is sold: one folder a product, read, checked and published as data.

A new line of business is a new folder, never new code.
"""

from products.loader import (
    ProductError,
    Release,
    ReleaseError,
    load_release,
    read_notices,
    read_product,
    read_products,
)
from products.model import (
    Answer,
    Block,
    Cover,
    Declaration,
    DisclosureHeader,
    Document,
    DocumentKind,
    FieldRule,
    Insurer,
    Layout,
    Notice,
    Product,
    Question,
    RetentionClass,
    Section,
    minimum_dwell,
)
from products.proposal_check import FieldError, check_party, check_product, check_proposal

__all__ = [
    "Answer",
    "Block",
    "Cover",
    "Declaration",
    "DisclosureHeader",
    "Document",
    "DocumentKind",
    "FieldError",
    "FieldRule",
    "Insurer",
    "Layout",
    "Notice",
    "Product",
    "ProductError",
    "Question",
    "Release",
    "ReleaseError",
    "RetentionClass",
    "Section",
    "check_party",
    "check_product",
    "check_proposal",
    "load_release",
    "minimum_dwell",
    "read_notices",
    "read_product",
    "read_products",
]
