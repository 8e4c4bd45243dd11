"""The fonts documents are set in: prepared once per machine, and the only ones a renderer may see.

``python -m servicekit.documents.fonts --into DIR`` makes a self-contained folder out of Noto CJK and LXGW WenKai
(both SIL OFL 1.1): a small cut of each for the characters nearly every document stays within (GB 2312, ASCII and
a few signs: a page renders in half the time and a quarter of the size), and the whole fonts behind it, so that a
rare name is still set. The cuts carry names of their own, as the licence asks of a modified font.

A character that no font here has is an error which names it (``MissingGlyph``): a box in a policy is worse than
a policy that is late.
"""

# fontTools and uharfbuzz carry no types; what leaves this module is typed.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

import argparse
import bisect
import contextlib
import io
import json
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

SYSTEM_FONTS = Path("/usr/share/fonts")

_UNUSED_TABLES = (b"vhea", b"vmtx", b"VORG", b"BASE")
"""Of vertical setting. A document's font keeps the numbering of its source, so each would cost 15 kB a font."""
_FEATURES = (b"kern", b"mark", b"mkmk", b"tnum", b"ccmp")

MANIFEST = "fonts.json"
CONFIG = "fonts.conf"
VERSION = 1
"""Of the folder's contents: a folder of another version is made anew."""


class MissingGlyph(ValueError):
    """A document contains characters that cannot be set.

    ``characters`` names each once, in order of appearance. The message carries code points and nothing of the
    text around them, which may be personal.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = tuple(characters)
        named = ", ".join(f"{c if c.isprintable() else '?'} (U+{ord(c):04X})" for c in self.characters)
        super().__init__(f"no glyph for {named}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (MissingGlyph, (self.characters,))


class FontsNotPrepared(RuntimeError):
    """The folder holds no fonts, or those of another version: run ``python -m servicekit.documents.fonts``."""


@dataclass(frozen=True)
class _Face:
    """One face: where its whole font is, under which names the cut and the whole are known."""

    source: str
    number: int
    file: str
    cut: str
    weight: str
    keep_whole: bool


_FACES = (
    _Face("opentype/noto/NotoSansCJK-Regular.ttc", 2, "sans-regular", "Toubao Sans", "Regular", True),
    _Face("opentype/noto/NotoSansCJK-Bold.ttc", 2, "sans-bold", "Toubao Sans", "Bold", True),
    _Face("opentype/noto/NotoSerifCJK-Bold.ttc", 2, "song-bold", "Toubao Song", "Bold", False),
    _Face("truetype/lxgw-wenkai/LXGWWenKai-Regular.ttf", 0, "kai-regular", "Toubao Kai", "Regular", True),
)

SANS = '"Toubao Sans", "Noto Sans CJK SC"'
KAI = '"Toubao Kai", "LXGW WenKai", "Noto Sans CJK SC"'
SONG = '"Toubao Song", "Toubao Sans", "Noto Sans CJK SC"'
"""CSS font stacks: the cut first, the whole behind it."""


def common_characters() -> frozenset[int]:
    """GB 2312, ASCII, and the signs of money, names and paper that it lacks."""
    found = {ord(c) for c in "¥￥·•—–…‘’“”〇㎡㎥№℃‰×÷±≤≥√✓□○●◎①②③④⑤⑥⑦⑧⑨⑩Ⅰ Ⅱ Ⅲ\u00a0\u3000"}
    found.update(range(0x20, 0x7F))
    for high in range(0xA1, 0xF8):
        for low in range(0xA1, 0xFF):
            try:
                found.add(ord(bytes((high, low)).decode("gb2312")))
            except UnicodeDecodeError:
                continue
    return frozenset(found)


def prepare(into: Path, system_fonts: Path = SYSTEM_FONTS) -> None:
    """Fill ``into`` with the cuts, the whole fonts, a fontconfig file and a manifest.

    Returns at once where that has been done already. Raises FileNotFoundError naming the missing font file
    (Debian packages fonts-noto-cjk and fonts-lxgw-wenkai), FileExistsError where the folder is used otherwise.
    """
    try:
        load(into)
        return
    except FontsNotPrepared:
        pass
    into = into.resolve()
    if into.is_dir() and any(into.iterdir()) and not (into / MANIFEST).is_file():
        raise FileExistsError("the folder holds something else")
    into.parent.mkdir(parents=True, exist_ok=True)
    # Made beside its place and moved there whole: nobody ever sees half a folder.
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        _make(made, into, system_fonts)
        with contextlib.suppress(FileNotFoundError):
            into.rename(Path(scratch) / "former")
        with contextlib.suppress(OSError):  # another process was faster, with the same
            made.rename(into)


def _make(folder: Path, final: Path, system_fonts: Path) -> None:
    import uharfbuzz
    from fontTools.ttLib import TTFont

    hb: Any = uharfbuzz  # a compiled module, without types
    common = common_characters()
    covered: set[int] = set()
    for face in _FACES:
        source = system_fonts / face.source
        if not source.is_file():
            raise FileNotFoundError(f"font {face.source} is not installed")
        blob = hb.Blob.from_file_path(str(source))
        whole = hb.Face(blob, face.number)
        suffix = ".otf" if "CFF " in whole.table_tags else ".ttf"
        characters = frozenset(whole.unicodes)
        if face.keep_whole:
            covered.update(characters)
            everything = hb.SubsetInput()
            everything.keep_everything()
            everything.drop_table_tag_set.update(_tags(_UNUSED_TABLES))
            (folder / f"{face.file}-whole{suffix}").write_bytes(hb.subset(whole, everything).blob.data)
        chosen = hb.SubsetInput()
        chosen.unicode_set.update(common & characters)
        chosen.layout_feature_tag_set.clear()
        chosen.layout_feature_tag_set.update(_tags(_FEATURES))
        chosen.drop_table_tag_set.update(_tags(_UNUSED_TABLES))
        chosen.flags = hb.SubsetFlags.NO_HINTING | hb.SubsetFlags.NOTDEF_OUTLINE
        # HarfBuzz cuts these fonts a hundred times faster than fontTools; only the name is left to the latter.
        # With its own timestamp the same document would differ between two machines.
        cut = TTFont(io.BytesIO(hb.subset(whole, chosen).blob.data), recalcTimestamp=False)
        _rename(cut, face.cut, face.weight)
        cut.save(folder / f"{face.file}-cut{suffix}")
    (folder / "cache").mkdir(exist_ok=True)
    (folder / CONFIG).write_text(
        '<?xml version="1.0"?>\n<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">\n<fontconfig>\n'
        f"  <dir>{escape(str(final))}</dir>\n  <cachedir>{escape(str(final / 'cache'))}</cachedir>\n</fontconfig>\n",
        encoding="utf-8",
    )
    # Written last: a folder with a manifest is complete.
    (folder / MANIFEST).write_text(json.dumps({"version": VERSION, "covered": _ranges(covered)}), encoding="utf-8")


def _tags(names: Sequence[bytes]) -> list[int]:
    return [int.from_bytes(name, "big") for name in names]


def _rename(font: Any, family: str, weight: str) -> None:
    names = font["name"]
    names.names = []
    postscript = f"{family}-{weight}".replace(" ", "")
    for name_id, text in ((1, family), (2, weight), (3, postscript), (4, f"{family} {weight}"), (6, postscript)):
        names.setName(text, name_id, 3, 1, 0x409)
    if "CFF " in font:
        cff = font["CFF "].cff
        cff.fontNames = [postscript]
        top = cff.topDictIndex[0]
        top.FullName, top.FamilyName = f"{family} {weight}", family


def _ranges(points: Iterable[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for point in sorted(points):
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return ranges


@dataclass(frozen=True)
class Fonts:
    """A prepared folder and what it can set."""

    folder: Path
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def config(self) -> Path:
        """The fontconfig file that shows a process these fonts and no others."""
        return self.folder / CONFIG

    def outline_sources(self) -> tuple[Path, ...]:
        """Fonts for text that is drawn as outlines, in order of preference."""
        return tuple(next(self.folder.glob(f"{name}.*")) for name in ("song-bold-cut", "sans-bold-whole"))

    @property
    def kai(self) -> Path:
        """The whole regular-script font: what a character looks like when it is written well."""
        return next(self.folder.glob("kai-regular-whole.*"))

    def has(self, character: str) -> bool:
        """Whether the character can be set and shown as what it is.

        Controls, bidirectional and other invisible formats, and private-use characters are refused even where
        a font maps them: the paper would then not show what the data says.
        """
        if character in "\n\t":
            return True
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
            return False
        point = ord(character)
        at = bisect.bisect_right(self.starts, point) - 1
        return at >= 0 and point <= self.ends[at]

    def check(self, text: str) -> None:
        """Raise MissingGlyph naming every character of ``text`` that cannot be set."""
        missing = [c for c in dict.fromkeys(text) if not self.has(c)]
        if missing:
            raise MissingGlyph(missing)


def load(folder: Path) -> Fonts:
    """The fonts of a prepared folder. Raises FontsNotPrepared."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FontsNotPrepared("no prepared fonts") from None
    if manifest["version"] != VERSION:
        raise FontsNotPrepared("fonts of another version")
    covered: list[list[int]] = manifest["covered"]
    return Fonts(folder.resolve(), tuple(r[0] for r in covered), tuple(r[1] for r in covered))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m servicekit.documents.fonts", description="Prepare the fonts.")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR")
    parser.add_argument("--system-fonts", type=Path, default=SYSTEM_FONTS, metavar="DIR")
    arguments = parser.parse_args()
    prepare(arguments.into, arguments.system_fonts)


if __name__ == "__main__":
    main()
