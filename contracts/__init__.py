"""The language everybody speaks: subjects, facts, commands and value types.

Pydantic models without I/O. Imports nothing of ours; everything else may import it.
"""

from contracts.values import Contract

__all__ = ["Contract"]
