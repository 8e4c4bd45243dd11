"""The MongoDB that tests run against: ``MONGODB_URI`` when set, else a wire server of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import wire_server as local


@contextmanager
def wire_server(data_dir: Path) -> Iterator[str]:
    """A URI to a MongoDB. Databases may hold what earlier tests left: use names of your own there."""
    if uri := os.environ.get("MONGODB_URI"):
        yield uri
    else:
        with local.wire_server(data_dir) as uri:
            yield uri
