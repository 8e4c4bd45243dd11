"""Reads product folders, and published releases by their hash."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from contracts.values import Contract, Sha256, sha256_hex
from products.markdown import DocumentError, characters, split
from products.model import (
    Document,
    DocumentEntry,
    DocumentKind,
    Notice,
    NoticeEntry,
    NoticesSource,
    Product,
    ProductSource,
    minimum_dwell,
)

NOTICES = "notices"
M = TypeVar("M", bound=BaseModel)


class ProductError(ValueError):
    """A product that cannot be used; the text names the file and the key."""


class ReleaseError(ValueError):
    """A release that is missing or is not what its hash says."""


class _StrictLoader(yaml.SafeLoader):
    """YAML as plain data: a key written twice is an error and a date stays text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Manifest(Contract):
    """What a release says about itself; its canonical JSON is hashed, and that is the release's name.

    It carries the products and notices as they were read, so that a later reader of Markdown or YAML cannot
    change what an old release means, and lists every source file by hash.
    """

    format: int = 1
    products: dict[str, Product]
    notices: dict[str, Notice]
    files: dict[str, Sha256]
    """Path inside the products folder → SHA-256 of the source, stored beside the manifest."""


class Release:
    """One immutable published state of all products and notices (I20)."""

    def __init__(self, release_hash: str, manifest: Manifest, sources: Mapping[str, bytes]) -> None:
        self.hash = release_hash
        self.products: Mapping[str, Product] = manifest.products
        self.notices: Mapping[str, Notice] = manifest.notices
        self.files: Mapping[str, str] = manifest.files
        self._sources = sources
        self._documents: dict[str, Document] = {}
        for product in manifest.products.values():
            for document in product.documents:
                self._documents.setdefault(document.sha256, document)
        for notice in manifest.notices.values():
            self._documents.setdefault(notice.document.sha256, notice.document)

    def document(self, sha256: str) -> Document:
        """The document of a product or notice with this source hash; raises `ReleaseError` if there is none."""
        try:
            return self._documents[sha256]
        except KeyError:
            raise ReleaseError(f"release {self.hash} has no document {sha256}") from None

    def source(self, sha256: str) -> bytes:
        """The very bytes that were published under this hash; raises `ReleaseError` if there are none."""
        try:
            return self._sources[sha256]
        except KeyError:
            raise ReleaseError(f"release {self.hash} has no file {sha256}") from None


class Releases:
    """The published releases of a folder, each read once and kept (they never change)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, Release] = {}

    def get(self, release_hash: str) -> Release:
        """Raises `ReleaseError` when it is missing or not what its hash says."""
        release = self._read.get(release_hash)
        if release is None:
            release = self._read[release_hash] = load_release(release_hash, self._folder)
        return release


def read_products(folder: Path) -> dict[str, Product]:
    """Every product in ``folder`` (one sub-folder with a ``product.yaml`` each), by code.

    Raises `ProductError` naming file and key.
    """
    products: dict[str, Product] = {}
    for path in sorted(folder.glob("*/product.yaml")):
        product = read_product(path.parent)
        if product.code in products:
            raise ProductError(f"{path}: code: {product.code} is used by another folder")
        products[product.code] = product
    if not products:
        raise ProductError(f"{folder}: no product.yaml in any sub-folder")
    return products


def read_product(folder: Path) -> Product:
    path = folder / "product.yaml"
    source = _validate(path, ProductSource)
    if source.code != folder.name:
        raise ProductError(f"{path}: code: {source.code} is not the folder's name")
    if source.code == NOTICES:
        raise ProductError(f"{path}: code: {NOTICES} is the name of the notices")
    data = source.model_dump(mode="json", exclude={"documents"})
    data["documents"] = [_document(path, i, entry) for i, entry in enumerate(source.documents)]
    data["source_sha256"] = sha256_hex(path.read_bytes())
    listed = {folder / entry.file for entry in source.documents}
    for stray in sorted(set(folder.glob("documents/*")) - listed):
        raise ProductError(f"{path}: documents: {stray.name} is in the folder but not listed")
    return _checked(path, Product, json.dumps(data))


def read_notices(folder: Path) -> dict[str, Notice]:
    """The texts that belong to no product (``notices/notices.yaml``), by code; empty if there are none."""
    path = folder / NOTICES / "notices.yaml"
    if not path.exists():
        return {}
    source = _validate(path, NoticesSource)
    notices: dict[str, Notice] = {}
    for i, entry in enumerate(source.notices):
        if entry.code in notices:
            raise ProductError(f"{path}: notices.{i}.code: {entry.code} is used twice")
        data = entry.model_dump(mode="json", include={"stage", "act", "required", "ask"})
        data["insurer"] = source.insurer.model_dump(mode="json")
        data["document"] = _document(path, i, entry)
        notices[entry.code] = _checked(path, Notice, json.dumps(data))
    return notices


def load_release(release_hash: str, releases: Path) -> Release:
    """The release with this hash from the folder of releases; every byte is checked against it.

    Raises `ReleaseError` if the release is missing, altered, or holds a file too many or too few.
    """
    if len(release_hash) != 64 or not set(release_hash) <= set("0123456789abcdef"):
        raise ReleaseError("a release is named by a SHA-256 in hexadecimal")
    folder = releases / release_hash
    try:
        manifest_bytes = (folder / "manifest.json").read_bytes()
        sources = {path.name: path.read_bytes() for path in (folder / "files").iterdir()}
    except OSError as fault:
        raise ReleaseError(f"release {release_hash} cannot be read: {fault.strerror}") from None
    if sha256_hex(manifest_bytes) != release_hash:
        raise ReleaseError(f"release {release_hash}: the manifest was altered")
    try:
        manifest = Manifest.model_validate_json(manifest_bytes, strict=True)
    except ValidationError as fault:
        raise ReleaseError(f"release {release_hash}: manifest: {_first(fault)}") from None
    for name, content in sources.items():
        if sha256_hex(content) != name:
            raise ReleaseError(f"release {release_hash}: the file {name} was altered")
    if set(sources) != set(manifest.files.values()):
        raise ReleaseError(f"release {release_hash}: files were added or removed")
    return Release(release_hash, manifest, sources)


def _document(path: Path, index: int, entry: DocumentEntry | NoticeEntry) -> dict[str, Any]:
    key = "documents" if isinstance(entry, DocumentEntry) else "notices"
    file = path.parent / entry.file
    try:
        source = file.read_bytes()
        text = source.decode()
    except OSError as fault:
        raise ProductError(f"{path}: {key}.{index}.file: {entry.file}: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise ProductError(f"{file}: not UTF-8") from None
    try:
        blocks = split(text, exclusions=entry.kind is DocumentKind.EXCLUSIONS)
    except DocumentError as fault:
        raise ProductError(f"{file}: {fault}") from None
    count = characters(blocks)
    return Document(
        code=entry.code,
        title=entry.title,
        kind=entry.kind,
        version=entry.version,
        clause_code=entry.clause_code,
        mandatory=entry.mandatory if isinstance(entry, DocumentEntry) else entry.required,
        sha256=sha256_hex(source),
        characters=count,
        minimum_dwell_seconds=minimum_dwell(count),
        blocks=blocks,
    ).model_dump(mode="json")


def _validate(path: Path, model: type[M]) -> M:
    try:
        data: object = yaml.load(path.read_bytes(), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except OSError as fault:
        raise ProductError(f"{path}: {fault.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise ProductError(f"{path}: {' '.join(str(fault).split())}") from None
    try:
        text = json.dumps(data)
    except (TypeError, ValueError) as fault:
        raise ProductError(f"{path}: {fault}") from None
    return _checked(path, model, text)


def _checked(path: Path, model: type[M], text: str) -> M:
    """Strict validation of JSON: no text read as a number, no number as text."""
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as fault:
        raise ProductError(f"{path}: {_first(fault)}") from None


def _first(fault: ValidationError) -> str:
    error = fault.errors(include_url=False, include_context=False, include_input=False)[0]
    key = ".".join(str(part) for part in error["loc"])
    return f"{key}: {error['msg']}" if key else error["msg"]
