import pickle
from pathlib import Path

import pytest

from servicekit.documents.fonts import FontsNotPrepared, MissingGlyph, load, prepare
from tests.servicekit.documents.prepared import fonts_folder


def test_rare_names_can_be_set() -> None:
    load(fonts_folder()).check("𬭚㛃䶮𠮷〇·阿卜杜热合曼 ABC ¥ 1,234.56 é")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("王\U0003134a", "U+3134A"),  # no font of ours has it
        ("王\ue000", "U+E000"),  # private use: some bank's idea of a rare character
        ("王\u202e明", "U+202E"),  # would turn the text around on paper
        ("王\u200b明", "U+200B"),  # would not show at all
        ("王\x00", "U+0000"),
        ("王\ud800", "U+D800"),
    ],
)
def test_a_character_that_cannot_be_set_is_named(text: str, named: str) -> None:
    with pytest.raises(MissingGlyph, match=named.replace("+", r"\+")) as refused:
        load(fonts_folder()).check(text)
    assert len(refused.value.characters) == 1
    assert "王" not in str(refused.value)


def test_missing_glyph_crosses_processes() -> None:
    there_and_back = pickle.loads(pickle.dumps(MissingGlyph(["\U0003134a"])))
    assert there_and_back.characters == ("\U0003134a",)


def test_unprepared_folder(tmp_path: Path) -> None:
    with pytest.raises(FontsNotPrepared):
        load(tmp_path)


def test_prepare_spares_a_folder_used_otherwise(tmp_path: Path) -> None:
    kept = tmp_path / "mine.txt"
    kept.write_text("mine")
    with pytest.raises(FileExistsError):
        prepare(tmp_path)
    assert kept.read_text() == "mine"


def test_prepare_names_the_missing_font(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="NotoSansCJK-Regular"):
        prepare(tmp_path / "into", tmp_path / "nothing")
