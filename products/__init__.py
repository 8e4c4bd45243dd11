"""What is sold: one folder a product, read, checked and published as data.

A new line of business is a new folder, never new code.
"""

from products.layout import CoverLine, DrawnSection, Formats, cover_lines, draw, field_text
from products.loader import (
    ProductError,
    Release,
    ReleaseError,
    Releases,
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
from products.proposal_check import FieldError, add_months, check_party, check_product, check_proposal, check_subject

__all__ = [
    "Answer",
    "Block",
    "Cover",
    "CoverLine",
    "Declaration",
    "DisclosureHeader",
    "Document",
    "DocumentKind",
    "DrawnSection",
    "FieldError",
    "FieldRule",
    "Formats",
    "Insurer",
    "Layout",
    "Notice",
    "Product",
    "ProductError",
    "Question",
    "Release",
    "ReleaseError",
    "Releases",
    "RetentionClass",
    "Section",
    "add_months",
    "check_party",
    "check_product",
    "check_proposal",
    "check_subject",
    "cover_lines",
    "draw",
    "field_text",
    "load_release",
    "minimum_dwell",
    "read_notices",
    "read_product",
    "read_products",
]
