"""A page with one empty signature field, without the cost of rendering."""

import io

import pikepdf
from pikepdf import Array, Dictionary, Name, String


def blank_form(field: str = "signature") -> bytes:
    document = pikepdf.new()
    page = document.add_blank_page(page_size=(595, 842))
    widget = document.make_indirect(
        Dictionary(
            Type=Name.Annot, Subtype=Name.Widget, FT=Name.Sig, T=String(field), Rect=Array([50, 50, 220, 100]), F=132
        )
    )
    page.obj.Annots = Array([widget])
    document.Root.AcroForm = Dictionary(Fields=Array([widget]), SigFlags=0)
    out = io.BytesIO()
    document.save(out, deterministic_id=True)
    return out.getvalue()
