"""``python -m tests.faults.checker FOLDER``: judges what a local run left in its folder.

Exits with 0 if no rule was found broken, else 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.faults.checker import check, shown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.checker", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "folder",
        type=Path,
        help="of the run: data, blobs, vault, releases, sandbox, and what the storm left beside them",
    )
    parser.add_argument("--mongodb", default=None, metavar="URI", help="where the stores are if they are no files")
    asked = parser.parse_args()
    verdict = check(asked.folder, asked.mongodb)
    print(shown(verdict.table()))
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
