"""The pack's container: a zip file with one possible spelling.

Members sorted by name, stored without compression, no times, no comments, no extra fields: the same members are
the same bytes, and whoever reads can build the file again and compare every byte of it.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from typing import Final

NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
MAX_MEMBERS: Final = 20_000
MAX_BYTES: Final = 1 << 30


def archive(members: Mapping[str, bytes]) -> bytes:
    """Raises ``ValueError`` for a name or size the format does not allow."""
    if len(members) > MAX_MEMBERS or sum(len(data) for data in members.values()) > MAX_BYTES:
        raise ValueError("too much for one pack")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(members):
            if len(name) > 200 or not NAME.fullmatch(name):
                raise ValueError(f"not a member's name: {name}")
            entry = zipfile.ZipInfo(name)  # at the beginning of zip's time, 1980-01-01
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            file.writestr(entry, members[name])
    return out.getvalue()
