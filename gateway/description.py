"""``python -m gateway.description`` prints what ``/openapi.json`` says; ``make web`` makes the pages' types from it."""

from __future__ import annotations

import json
import sys

from gateway.app import routed

if __name__ == "__main__":
    json.dump(routed().openapi(), sys.stdout, ensure_ascii=False, indent=1)
