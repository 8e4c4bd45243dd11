"""``python -m servicekit.republish SERVICE``: every fact of a service's store goes onto its stream again.

Rebuilds a stream that was lost (DESIGN §3). Listeners pass over what they already know. May run while the service
does.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from contracts import subjects
from servicekit.bus import Bus, BusUnavailable
from servicekit.runner import settings_or_exit
from servicekit.settings import Settings
from servicekit.store import Cursor, StoredFact, open_store
from servicekit.telemetry.metrics import Metrics

PAGE = 100
SERVICES: Final = (*subjects.JOURNEY_SERVICES, *subjects.AFTERCARE_SERVICES)


def subject_of(journey_id: str, fact: StoredFact) -> str:
    """Where a stored fact belongs, by its CloudEvents type ``toubao.<service>.<fact>.v<n>``."""
    _, service, name, _ = fact.type.split(".")
    if service in subjects.AFTERCARE_SERVICES:
        return subjects.aftercare_fact(service, name, fact.id)
    return subjects.journey_fact(journey_id, service, name)


async def republish(settings: Settings, service: str) -> int:
    """Returns how many facts were published. Raises ``BusUnavailable``; then it is simply run again."""
    # In the service's own name: these are its facts, and nobody else has the right to them.
    bus = await Bus.connect(settings, service, Metrics("republish", "1.0.0"))
    store = open_store(settings, service)
    try:
        journeys, done = store.collection("journeys"), 0
        after: Cursor | None = None
        while page := await journeys.find(limit=PAGE, after=after):
            for document in page:
                for fact in document.facts:
                    await bus.publish(subject_of(document.id, fact), fact)
                    done += 1
            after = page[-1].cursor()
        return done
    finally:
        await store.close()
        await bus.close()


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in SERVICES:
        sys.exit(__doc__)
    try:
        sys.stdout.write(f"{asyncio.run(republish(settings_or_exit(Settings), sys.argv[1]))} facts published\n")
    except BusUnavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
