from xml.etree import ElementTree as ET

import pytest
import segno

from servicekit.documents.qr import qr_svg


def test_qr_is_one_svg_element_of_its_modules() -> None:
    text = "https://toubao.example/verify#SYXA202644010000000042X.8K3M2QTX"
    drawn = ET.fromstring(qr_svg(text))
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    side = segno.make_qr(text, error="m").symbol_size(border=0)[0]
    assert drawn.attrib["viewBox"] == f"0 0 {side} {side}"
    assert "width" not in drawn.attrib
    assert qr_svg(text) == qr_svg(text)


def test_data_never_becomes_markup() -> None:
    assert "<script" not in qr_svg("<script>alert(1)</script>")


def test_too_much_data() -> None:
    with pytest.raises(segno.DataOverflowError):
        qr_svg("x" * 5000)
