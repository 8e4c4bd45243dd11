"""HTML templates to PDF, in worker processes.

A worker sees the prepared fonts and no others, one folder of templates, and the files passed in; every other
address is refused. The same job makes the same bytes: identifier and dates come in as arguments. The result is
PDF/A-3u with the places of its fields: a template marks where a signature goes by ``<a href="slot:NAME">``
around a block, and the rendered file has an empty signature field NAME there instead of the link. Signing the field
of ``slot:NAME?lock`` locks the whole document.
"""

# WeasyPrint and pikepdf carry few types; what leaves this module is typed.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

import gc
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from servicekit.documents.fonts import KAI, SANS, SONG, Fonts, MissingGlyph, load
from servicekit.workers import WorkerFailed, Workers

__all__ = ["AddressRefused", "Attached", "Job", "MissingGlyph", "RenderFailed", "RenderSettings", "Renderer"]

_BASE = Path(__file__).parent / "templates"
"""The sheet every document of ours is printed on; a job's template extends or imports from it."""

_STACKS = {"sans": SANS, "kai": KAI, "song": SONG}
_ORIGIN = "https://template.invalid/"
_FILES = "https://file.invalid/"


class RenderFailed(Exception):
    """A worker died or overran its deadline. Transient: the same job may pass in another worker."""


class AddressRefused(ValueError):
    """A template asks for a file that is not served. Permanent: the template is wrong."""


class RenderSettings(BaseModel):
    """How documents are rendered."""

    model_config = ConfigDict(frozen=True)

    fonts: Path
    """Folder made by ``python -m servicekit.documents.fonts``."""
    workers: int = Field(default=1, ge=1)
    recycle_after: int = Field(default=500, ge=1)
    """Documents a worker makes before it is replaced: the text libraries grow slowly."""
    deadline_s: float = Field(default=20.0, gt=0)


@dataclass(frozen=True)
class Attached:
    """A file carried inside the PDF (PDF/A-3 associated file)."""

    name: str
    description: str
    data: bytes
    relationship: str = "Data"


@dataclass(frozen=True)
class Job:
    """One document to make.

    ``templates`` is the folder, ``template`` the file in it, ``data`` what it is filled with (values are
    escaped; a name the template uses and the data lacks is an error). ``identifier`` and ``created`` go into
    the file. ``files`` are served to the template as ``https://file.invalid/NAME``.
    """

    templates: Path
    template: str
    data: Mapping[str, JsonValue]
    identifier: str
    created: datetime
    attachments: tuple[Attached, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


class Renderer:
    """A pool of workers that draw. ``start`` returns when each is warm; ``stop`` takes under two seconds."""

    def __init__(self, settings: RenderSettings, waiting: Callable[[int], object] = lambda _: None) -> None:
        """``waiting`` is told how many jobs have no worker yet, whenever that may have changed."""
        self._settings = settings
        self._waiting = waiting
        self._workers: Workers | None = None

    async def start(self) -> None:
        """Start the workers. Raises FontsNotPrepared, RenderFailed."""
        workers = Workers(
            _begin,
            load(self._settings.fonts),
            count=self._settings.workers,
            recycle_after=self._settings.recycle_after,
            deadline_s=self._settings.deadline_s,
            waiting=self._waiting,
        )
        self._workers = workers
        try:
            await workers.start()
        except WorkerFailed as failed:
            raise RenderFailed(*failed.args) from None

    async def stop(self) -> None:
        """End the workers, whatever they are doing."""
        workers, self._workers = self._workers, None
        if workers is not None:
            await workers.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def render(self, job: Job) -> bytes:
        """The PDF's bytes.

        Raises MissingGlyph, AddressRefused and jinja2.UndefinedError for what the job itself has wrong (permanent),
        RenderFailed for a worker that died or took too long (transient).
        """
        if self._workers is None:
            raise RuntimeError("the renderer is not running")
        try:
            return await self._workers.run(_render, job)
        except WorkerFailed as failed:
            raise RenderFailed(*failed.args) from None


# --- in the worker ---------------------------------------------------------------------------------------------

_fonts: Fonts | None = None
_shared: Any = None
"""WeasyPrint's font configuration, one as long as the worker lives: opening the fonts again costs more than a page."""


def _begin(fonts: Fonts) -> None:
    """Must run before WeasyPrint is imported: fontconfig reads the variable once."""
    global _fonts  # noqa: PLW0603  what a worker process is given once
    os.environ["FONTCONFIG_FILE"] = str(fonts.config)
    _fonts = fonts
    # The first document is slow: fonts are opened, libraries loaded.
    _write(
        "<p style='font-family:Toubao Sans'>投保 <b>2026</b> <i style='font-family:Toubao Kai'>投保</i></p>",
        b"",
        (),
        None,
    )
    # What is loaded by now stays: the collector need not walk through it with every document.
    gc.freeze()


@cache
def _environment(templates: Path) -> Any:
    """Templates are compiled once a worker; a changed file is seen."""
    import jinja2
    from markupsafe import Markup

    from servicekit.documents import paper
    from servicekit.documents.qr import qr_svg

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([templates, _BASE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["yuan"] = paper.yuan
    environment.filters["in_words"] = paper.amount_in_words
    # Drawn here from plain text: no markup ever comes in with the data.
    environment.filters["qr"] = lambda data: Markup(qr_svg(data))  # noqa: S704
    return environment


def _render(job: Job) -> bytes:
    import html as markup

    from markupsafe import Markup

    assert _fonts is not None
    text = (
        _environment(job.templates)
        .get_template(job.template)
        .render(
            **job.data,
            stacks={name: Markup(stack) for name, stack in _STACKS.items()},  # noqa: S704  constants of ours
            created=job.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
    )
    _fonts.check(markup.unescape(text))
    return _finished(_write(text, job.identifier.encode(), job.attachments, job))


def _write(html: str, identifier: bytes, attachments: tuple[Attached, ...], job: Job | None) -> bytes:
    """Nothing in it is compressed yet: WeasyPrint would do it twice, once for the file and once for its identifier."""
    global _shared  # noqa: PLW0603  made by the first document, once the fonts are known
    import weasyprint
    from weasyprint.text.fonts import FontConfiguration
    from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse

    class OnlyOurs(URLFetcher):
        """Serves the template's folder and the files passed in, nothing else, and fails loudly."""

        def fetch(self, url: str, headers: Any = None) -> URLFetcherResponse:  # noqa: ARG002
            try:
                return URLFetcherResponse(url, _served(url, job))
            except (KeyError, OSError, ValueError):
                raise FatalURLFetchingError("address not served") from None

    if _shared is None:
        _shared = FontConfiguration()
    fetcher = OnlyOurs(allowed_protocols=())
    created = job.created.astimezone(UTC) if job is not None else None
    document = weasyprint.HTML(string=html, base_url=_ORIGIN, url_fetcher=fetcher)
    try:
        out = document.write_pdf(
            font_config=_shared,
            uncompressed_pdf=True,
            pdf_variant="pdf/a-3u",
            pdf_identifier=identifier,
            attachments=[
                weasyprint.Attachment(
                    string=a.data,
                    name=a.name,
                    description=a.description,
                    relationship=a.relationship,
                    created=created,
                    modified=created,
                )
                for a in sorted(attachments, key=lambda a: a.name)
            ],
        )
    except FatalURLFetchingError:
        # It derives from BaseException, which no pool and no loop should be left to carry.
        raise AddressRefused("a template asks for an address that is not served") from None
    return cast(bytes, out)


def _served(url: str, job: Job | None) -> bytes:
    if job is None:
        raise ValueError
    if url.startswith(_FILES):
        return job.files[url.removeprefix(_FILES)]
    folder = job.templates.resolve()
    path = (folder / url.removeprefix(_ORIGIN)).resolve()
    if not url.startswith(_ORIGIN) or not path.is_relative_to(folder):
        raise ValueError
    return path.read_bytes()


def _finished(pdf: bytes) -> bytes:
    """The file as it goes out: ``slot:NAME`` links turned into empty signature fields of the same box, compressed."""
    import pikepdf
    from pikepdf import Array, Dictionary

    with pikepdf.open(io.BytesIO(pdf)) as document:
        fields = Array()
        for page in document.pages:
            kept = Array()
            for annotation in page.obj.get("/Annots", Array()):
                uri = str(annotation.get("/A", Dictionary()).get("/URI", ""))
                if uri.startswith("slot:"):
                    field = _field(document, page, annotation, uri.removeprefix("slot:"))
                    kept.append(field)
                    fields.append(field)
                else:
                    kept.append(annotation)
            if len(kept):
                page.obj.Annots = kept
        if len(fields):
            document.Root.AcroForm = document.make_indirect(Dictionary(Fields=fields, SigFlags=0))
        out = io.BytesIO()
        document.save(out, static_id=False, deterministic_id=True)
        return out.getvalue()


def _field(document: Any, page: Any, link: Any, slot: str) -> Any:
    from pikepdf import Array, Dictionary, Name, String

    name, _, lock = slot.partition("?")

    box = [round(float(v), 2) for v in link.Rect]
    left, bottom = min(box[0], box[2]), min(box[1], box[3])
    right, top = max(box[0], box[2]), max(box[1], box[3])
    # PDF/A wants an appearance on every widget, an empty one included.
    blank = document.make_stream(b"", Type=Name.XObject, Subtype=Name.Form)
    blank.BBox = Array([0, 0, right - left, top - bottom])
    field = document.make_indirect(
        Dictionary(
            Type=Name.Annot,
            Subtype=Name.Widget,
            FT=Name.Sig,
            T=String(name),
            Rect=Array([left, bottom, right, top]),
            F=132,
            P=page.obj,
            AP=Dictionary(N=blank),
        )
    )
    if lock == "lock":
        # PDF 2.0 (ISO 32000-2 §12.7.5.5): once this one is signed, nothing changes any more.
        field.Lock = document.make_indirect(Dictionary(Type=Name.SigFieldLock, Action=Name.All, P=1))
    return field
