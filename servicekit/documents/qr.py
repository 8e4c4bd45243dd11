"""QR codes as vector drawings."""

import io

import segno


def qr_svg(data: str) -> str:
    """An SVG element, one unit a module without quiet zone, sized by whoever places it. Level M.

    Raises segno.DataOverflowError where the data does not fit.
    """
    out = io.BytesIO()
    segno.make_qr(data, error="m").save(
        out, kind="svg", xmldecl=False, svgns=True, border=0, omitsize=True, svgclass="qr", lineclass=None
    )
    return out.getvalue().decode()
