"""The running platform as the simulator's misdeeds find it."""

from __future__ import annotations

from deploy.local.environment import salesperson_of
from deploy.simulator.misdeeds import Doors
from tests.journey.whole import CHANNEL, Whole


def doors_of(whole: Whole) -> Doors:
    run = whole.run
    seller = salesperson_of(CHANNEL)
    return Doors(
        http=whole.http,
        gateway=run.gateway_url,
        parties=whole.parties,
        channel_key=run.api_key(CHANNEL),
        other_channel_key=run.api_key("north_agency"),
        staff_key=run.api_key("counsel"),
        salesperson=(seller, run.password(seller)),
        staff=("counsel", run.password("counsel")),
        chance=whole.chance,
        restart=run.restart,
    )
