"""A page with empty signature fields, without the cost of rendering."""

import io

import pikepdf
from pikepdf import Array, Dictionary, Name, String


def blank_form(*fields: str, lock: str | None = None) -> bytes:
    """One field called signature, or those named; ``lock`` is one more, which locks the document."""
    document = pikepdf.new()
    page = document.add_blank_page(page_size=(595, 842))
    widgets = [
        document.make_indirect(
            Dictionary(
                Type=Name.Annot,
                Subtype=Name.Widget,
                FT=Name.Sig,
                T=String(field),
                Rect=Array([50, 50 + 100 * place, 220, 100 + 100 * place]),
                F=132,
                P=page.obj,
            )
        )
        for place, field in enumerate((*(fields or ("signature",)), *([lock] if lock else ())))
    ]
    if lock is not None:
        widgets[-1].Lock = document.make_indirect(Dictionary(Type=Name.SigFieldLock, Action=Name.All, P=1))
    page.obj.Annots = Array(widgets)
    document.Root.AcroForm = document.make_indirect(Dictionary(Fields=Array(widgets), SigFlags=0))
    # Strings the signing program writes anew in its own way.
    document.Root.Lang = String("zh-CN")
    document.Root.OutputIntents = Array([Dictionary(Info=String("sRGB (IEC 61966-2-1) 投保"))])
    out = io.BytesIO()
    document.save(out, deterministic_id=True)
    return out.getvalue()
