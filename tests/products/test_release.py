"""Releases: immutable, named by their hash, and never believed without checking."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from contracts.values import sha256_hex
from products import ProductError, ReleaseError, load_release, read_product, read_products
from products.publish import main, publish


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The house's products in a folder of their own, to be changed."""
    target = tmp_path / "products"
    for source in folder.iterdir():
        if (source / "documents").is_dir():
            shutil.copytree(source, target / source.name)
    return target


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    return tmp_path / "releases"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_I20_the_same_content_is_the_same_release(copy: Path, folder: Path, tmp_path: Path) -> None:
    first = publish(folder, tmp_path / "one")
    second = publish(copy, tmp_path / "two")
    assert first.hash == second.hash
    assert (tmp_path / "one" / first.hash / "manifest.json").read_bytes() == (
        tmp_path / "two" / first.hash / "manifest.json"
    ).read_bytes()


def test_I20_a_release_is_never_written_again(copy: Path, releases: Path) -> None:
    release = publish(copy, releases)
    before = {path: path.stat().st_mtime_ns for path in releases.rglob("*")}
    assert publish(copy, releases).hash == release.hash
    assert {path: path.stat().st_mtime_ns for path in releases.rglob("*")} == before
    edit(copy / "motor_commercial/documents/clauses.md", "第一条", "第一条 ")
    changed = publish(copy, releases)
    assert changed.hash != release.hash
    assert load_release(release.hash, releases).products == release.products


def test_I20_everything_is_found_by_hash(copy: Path, releases: Path) -> None:
    published = publish(copy, releases)
    shutil.rmtree(copy)  # nothing but the release is needed later
    release = load_release(published.hash, releases)
    for product in release.products.values():
        assert sha256_hex(release.source(product.source_sha256)) == product.source_sha256
        for document in product.documents:
            assert release.document(document.sha256) == document
            assert sha256_hex(release.source(document.sha256)) == document.sha256
    for notice in release.notices.values():
        assert release.document(notice.document.sha256) == notice.document
    with pytest.raises(ReleaseError):
        release.document("0" * 64)
    with pytest.raises(ReleaseError):
        release.source("0" * 64)


def test_I20_an_altered_release_is_refused(copy: Path, releases: Path) -> None:
    release = publish(copy, releases)
    home = releases / release.hash
    for path in sorted(home.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ReleaseError):
            load_release(release.hash, releases)
        with pytest.raises(ReleaseError):
            publish(copy, releases)
        path.write_bytes(content)
    load_release(release.hash, releases)
    stray = home / "files" / sha256_hex(b"stray")
    stray.write_bytes(b"stray")
    with pytest.raises(ReleaseError, match="added or removed"):
        load_release(release.hash, releases)
    stray.unlink()
    next((home / "files").iterdir()).unlink()
    with pytest.raises(ReleaseError):
        load_release(release.hash, releases)


@pytest.mark.parametrize("name", ["", "../products", "0" * 63, "A" * 64, "0" * 64, "0" * 63 + "\n"])
def test_a_release_that_is_not_there_is_refused(name: str, releases: Path) -> None:
    with pytest.raises(ReleaseError):
        load_release(name, releases)


def test_nothing_half_written_stays(copy: Path, releases: Path) -> None:
    release = publish(copy, releases)
    assert [path.name for path in releases.iterdir()] == [release.hash]


def test_the_command_prints_the_hash(copy: Path, releases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--products", str(copy), "--releases", str(releases)]) == 0
    assert capsys.readouterr().out == publish(copy, releases).hash + "\n"
    edit(copy / "motor_commercial/product.yaml", "line_code: ZADA", "line_code: zada")
    assert main(["--products", str(copy), "--releases", str(releases)]) == 1
    assert "motor_commercial/product.yaml: line_code" in capsys.readouterr().err


def test_two_folders_may_not_share_a_product(copy: Path, folder: Path, releases: Path) -> None:
    with pytest.raises(ProductError, match="already in another folder"):
        publish([folder, copy], releases)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("optional: false", "optional: false\npreselected: true", "preselected"),
        (
            "    required: false\n    unit: policy",
            "    required: false\n    selected: true\n    unit: policy",
            "covers.0.selected",
        ),
        ("optional: false", "optional: 'false'", "optional"),
        ("optional: false", "optional: false\noptional: true", "the key optional twice"),
        ("min_fen: 100,", "min_fen: '100',", "premium.min_fen"),
        ("min_fen: 100,", "min_fen: 100.0,", "premium.min_fen"),
        ("requires_any: [vehicle_damage]", "requires_any: [hull]", "covers.6.requires_any: no cover hull"),
        ("other: subject.seats", "other: subject.doors", "subject.doors"),
        ("source: subject.vin", "source: subject.chassis", "unknown source subject.chassis"),
        ("source: policyholder.name", "source: policy.number", "unknown source policy.number"),
        ("document: clauses\n    clause: 第十条", "document: clauses\n    clause: 第九百条", "deadly_points.0.clause"),
        ("document: clauses\n    clause: 第十条", "document: terms\n    clause: 第十条", "deadly_points.0.document"),
        ("retention: up_to_one_year", "retention: over_one_year", "retention"),
        ("kind: exclusions", "kind: notice", "of kind exclusions is missing"),
        ("file: documents/notice.md", "file: documents/missing.md", "documents/missing.md"),
        ("file: documents/notice.md", "file: documents/../../notice.md", "documents.0.file"),
        ("code: motor_commercial", "code: motor_other", "not the folder's name"),
        ("outcome: decline", "outcome: advise_stop", "disclosure_questions"),
        ('pattern: "[A-HJ-NPR-Z0-9]{17}"', 'pattern: "["', "pattern"),
    ],
)
def test_a_fault_in_product_yaml_names_file_and_key(copy: Path, old: str, new: str, where: str) -> None:
    edit(copy / "motor_commercial/product.yaml", old, new)
    with pytest.raises(ProductError) as caught:
        read_product(copy / "motor_commercial")
    assert "motor_commercial/product.yaml" in str(caught.value)
    assert where in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "看<b>这里</b>",
        "[链接](https://example.com)",
        "![图](x.png)",
        "`代码`",
        "> 引用",
        "- 无序",
        "1. 一\n   1. 二",
        "| 一 | 二 |\n|---|---|\n| 三 | 四 |",
        "#### 太深",
        "**标点在里面。**后面",
        "*斜体*",
        "看不见的\u202e字",
        "零宽\u200b字",
        "\x00",
        "---",
    ],
)
def test_a_document_holds_only_the_subset(copy: Path, text: str) -> None:
    path = copy / "motor_commercial/documents/notice.md"
    path.write_text(f"# 标题\n\n一段话。\n\n{text}\n")
    with pytest.raises(ProductError, match=r"notice\.md: line \d+"):
        read_product(copy / "motor_commercial")


def test_I2_an_exclusion_must_be_conspicuous(copy: Path) -> None:
    edit(
        copy / "motor_commercial/documents/clauses.md",
        "1. **事故发生后，被保险人或者驾驶人故意破坏、伪造现场，毁灭证据的。**",
        "1. 事故发生后，被保险人或者驾驶人故意破坏、伪造现场，毁灭证据的。",
    )
    with pytest.raises(ProductError, match="conspicuous"):
        read_product(copy / "motor_commercial")


def test_a_document_nobody_lists_is_an_error(copy: Path) -> None:
    (copy / "motor_commercial/documents/extra.md").write_text("# 多余\n\n一段话。\n")
    with pytest.raises(ProductError, match=r"extra\.md is in the folder but not listed"):
        read_product(copy / "motor_commercial")


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProductError, match=r"no product\.yaml"):
        read_products(tmp_path)


def test_the_manifest_lists_every_source(copy: Path, releases: Path) -> None:
    release = publish(copy, releases)
    manifest = json.loads((releases / release.hash / "manifest.json").read_bytes())
    files = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == files
