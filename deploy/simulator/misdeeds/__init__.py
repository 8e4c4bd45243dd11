"""What a hostile customer, channel or stranger tries, each misdeed once: for ``--misbehave`` and for the tests alike.

A misdeed is an async function marked ``@misdeed``; its name and docstring are what a person reads. It is committed at
one step of a customer's journey, and everything it tries must be refused, with the code it names and without a word of
what was sent. The customer then goes on as if nothing had happened.
"""

from __future__ import annotations

from importlib import import_module

from deploy.simulator.misdeeds.scene import MISDEEDS, Attempt, Doors, Misdeed, Scene, commit, misdeed

for _room in ("ahead", "proofs", "strangers", "guesses", "changes", "bodies", "people", "wire", "payments"):
    import_module(f"{__name__}.{_room}")

__all__ = ["MISDEEDS", "Attempt", "Doors", "Misdeed", "Scene", "commit", "misdeed"]
