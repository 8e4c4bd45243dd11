"""The Markdown a product's documents are written in, and how it is split into numbered paragraphs.

Allowed: headings of level 1–3, paragraphs, flat numbered lists, **bold**. Anything else (links, images, HTML,
code, tables, quotes, nested lists) is refused, so that a page shows exactly what a printed copy shows.

Each paragraph and list item gets an id in order, ``p1``, ``p2``… A list item below a heading that contains
``责任免除``, and every list item of an exclusions document, is an itemised exclusion (``e1``, ``e2``…) and
must be conspicuous, i.e. contain bold text (Insurance Law art. 17).
"""

from __future__ import annotations

import unicodedata

from markdown_it import MarkdownIt
from markdown_it.token import Token

from products.model import Block, Span

EXCLUSION_HEADING = "责任免除"


class DocumentError(ValueError):
    """A document that cannot be read; ``line`` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


def split(source: str, *, exclusions: bool = False) -> tuple[Block, ...]:
    """Blocks of a document; ``exclusions`` makes every list item an itemised exclusion.

    Raises `DocumentError` for anything outside the subset.
    """
    for number, line in enumerate(source.split("\n"), 1):
        for character in line:
            if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co") and character != "\ufeff":
                raise DocumentError(number, f"control character U+{ord(character):04X}")
    blocks: list[Block] = []
    counts = {"h": 0, "p": 0, "e": 0}
    headings: dict[int, str] = {}
    item: int | None = None
    item_used = False
    level = 0
    depth = 0
    line = 1

    def next_id(prefix: str) -> str:
        counts[prefix] += 1
        return f"{prefix}{counts[prefix]}"

    for token in MarkdownIt("commonmark").enable("table").parse(source):
        line = token.map[0] + 1 if token.map else line
        match token.type:
            case "heading_open":
                level = int(token.tag[1:])
                if level > 3:
                    raise DocumentError(line, "headings go down to level 3")
            case "heading_close":
                level = 0
            case "ordered_list_open":
                depth += 1
                if depth > 1:
                    raise DocumentError(line, "lists are flat")
            case "ordered_list_close":
                depth -= 1
            case "list_item_open":
                item, item_used = int(token.info), False
            case "list_item_close":
                item = None
            case "paragraph_open" | "paragraph_close":
                pass
            case "inline":
                spans = _spans(token, line)
                if level:
                    headings = {k: v for k, v in headings.items() if k < level}
                    headings[level] = token.content
                    blocks.append(Block(id=next_id("h"), kind="heading", level=level, spans=spans))
                    continue
                exclusion = None
                if item is not None:
                    if item_used:
                        raise DocumentError(line, "a list item is one paragraph")
                    item_used = True
                    if exclusions or any(EXCLUSION_HEADING in text for text in headings.values()):
                        exclusion = next_id("e")
                        if not any(span.bold for span in spans):
                            raise DocumentError(line, "an exclusion must be conspicuous (bold)")
                blocks.append(
                    Block(
                        id=next_id("p"),
                        kind="paragraph" if item is None else "item",
                        number=item,
                        exclusion=exclusion,
                        spans=spans,
                    )
                )
            case other:
                raise DocumentError(line, f"{other.removesuffix('_open')} is not allowed")
    if not counts["p"]:
        raise DocumentError(1, "the document has no paragraph")
    return tuple(blocks)


def characters(blocks: tuple[Block, ...]) -> int:
    """Characters shown, white space not counted."""
    return sum(not c.isspace() for block in blocks for c in block.text)


def _spans(token: Token, line: int) -> tuple[Span, ...]:
    spans: list[Span] = []
    bold = False
    for child in token.children or []:
        match child.type:
            case "strong_open":
                bold = True
            case "strong_close":
                bold = False
            case "text":
                if not child.content:
                    continue
                if set(child.content) & set("*_`<>[]#"):
                    # e.g. bold whose mark stands after Chinese punctuation is not bold in CommonMark
                    raise DocumentError(line, "a mark of Markdown is left in the text")
                if spans and spans[-1].bold == bold:
                    spans[-1] = Span(text=spans[-1].text + child.content, bold=bold)
                else:
                    spans.append(Span(text=child.content, bold=bold))
            case "softbreak":
                continue  # Chinese has no space between words: a wrapped source line joins without one
            case other:
                raise DocumentError(line, f"{other.removesuffix('_open')} is not allowed")
    if not any(span.text.strip() for span in spans):
        raise DocumentError(line, "empty text")
    return tuple(spans)
