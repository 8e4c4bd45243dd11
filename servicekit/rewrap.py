"""``python -m servicekit.rewrap``: every journey's key is wrapped by the current master key.

The current one is the last line of ``TOUBAO_MASTER_KEY_FILE``; afterwards the lines before it can go. May run while
services do, once all of them were started with the new line.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from servicekit.blobs import FileBlobs
from servicekit.runner import settings_or_exit
from servicekit.settings import Settings
from servicekit.vault import Vault


async def rewrap(settings: Settings) -> int:
    """Returns how many keys were wrapped anew. Raises ``Unopenable`` for one whose master key is not in the file."""
    vault = Vault(
        FileBlobs(settings.blobs_dir),
        settings.vault_keys_dir,
        settings.master_key_file,
        now=lambda: datetime.now(UTC),
    )
    return await vault.rewrap_all()


def main() -> None:
    sys.stdout.write(f"{asyncio.run(rewrap(settings_or_exit(Settings)))} keys wrapped anew\n")


if __name__ == "__main__":
    main()
