"""Publishes the product folders as one immutable release named by its own hash.

    python -m products.publish [--products DIR]... [--releases DIR]

prints the release hash. The same content gives the same hash; an existing release is never written again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from contracts.values import canonical_json, sha256_hex
from products.loader import (
    NOTICES,
    Manifest,
    ProductError,
    Release,
    ReleaseError,
    load_release,
    read_notices,
    read_products,
)
from products.model import Notice, Product

PRODUCTS = Path(__file__).parent
"""The products of this house."""


def publish(folder: Path | Sequence[Path], releases: Path) -> Release:
    """Read one or several product folders and keep them below ``releases`` for good.

    Raises `ProductError` for a product that cannot be used, `ReleaseError` when a release of the same hash is
    there already but was altered.
    """
    folders = [folder] if isinstance(folder, Path) else list(folder)
    manifest, sources = _read(folders)
    manifest_bytes = canonical_json(manifest.model_dump(mode="json"))
    release_hash = sha256_hex(manifest_bytes)
    target = releases / release_hash
    if not target.exists():
        releases.mkdir(parents=True, exist_ok=True)
        _write(target, manifest_bytes, sources)
    return load_release(release_hash, releases)


def _read(folders: Sequence[Path]) -> tuple[Manifest, dict[str, bytes]]:
    products: dict[str, Product] = {}
    notices: dict[str, Notice] = {}
    files: dict[str, str] = {}
    sources: dict[str, bytes] = {}
    for folder in folders:
        found, texts = read_products(folder), read_notices(folder)
        for code in (found.keys() & products.keys()) | (texts.keys() & notices.keys()):
            raise ProductError(f"{folder}: {code} is already in another folder")
        products |= found
        notices |= texts
        expected = {document.sha256 for product in found.values() for document in product.documents}
        expected |= {product.source_sha256 for product in found.values()}
        expected |= {notice.document.sha256 for notice in texts.values()}
        paths = [path for code in found for path in (folder / code).rglob("*")]
        paths += list((folder / NOTICES).rglob("*")) if texts else []
        seen: set[str] = set()
        for path in paths:
            if path.suffix not in (".yaml", ".md") or not path.is_file():
                continue
            content = path.read_bytes()
            name = path.relative_to(folder).as_posix()
            if name in files:
                raise ProductError(f"{folder}: {name} is already in another folder")
            files[name] = sha256_hex(content)
            sources[sha256_hex(content)] = content
            seen.add(sha256_hex(content))
        if expected - seen:
            raise ProductError(f"{folder}: a file changed while it was being read")
    return Manifest(products=products, notices=notices, files=files), sources


def _write(target: Path, manifest: bytes, sources: dict[str, bytes]) -> None:
    """All or nothing: the folder gets its final name only when every byte is on disk."""
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=target.parent))
    try:
        (draft / "files").mkdir()
        for path, content in [
            (draft / "manifest.json", manifest),
            *((draft / "files" / name, content) for name, content in sources.items()),
        ]:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            path.chmod(0o444)
        draft.chmod(0o755)
        try:
            draft.rename(target)
        except OSError:
            if not target.exists():
                raise
            # Somebody else published the same content meanwhile; theirs is as good as ours.
            return
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="products.publish", description="publish an immutable release")
    parser.add_argument("--products", type=Path, action="append", help="a folder of product folders")
    parser.add_argument("--releases", type=Path, default=Path("var/releases"), help="where releases are kept")
    options = parser.parse_args(arguments)
    try:
        release = publish(options.products or [PRODUCTS], options.releases)
    except (ProductError, ReleaseError) as fault:
        print(fault, file=sys.stderr)
        return 1
    print(release.hash)
    return 0


if __name__ == "__main__":
    sys.exit(main())
