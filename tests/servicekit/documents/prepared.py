"""Fonts and a renderer, made once for all tests that make documents."""

import os
from pathlib import Path

from servicekit.documents.fonts import prepare
from servicekit.documents.render import RenderSettings

ROOT = Path(__file__).parents[3]


def fonts_folder() -> Path:
    """The folder the local run uses, prepared where it is not yet."""
    folder = Path(os.environ.get("TOUBAO_FONTS_DIR", ROOT / "var" / "fonts"))
    prepare(folder)
    return folder


def render_settings(**changes: object) -> RenderSettings:
    return RenderSettings.model_validate({"fonts": fonts_folder(), **changes})
