"""Traceability (可回溯): hears every fact of a journey and keeps it in a chain that cannot be changed unnoticed.

Owns the chain, its signed and timestamped heads, the sealed pack and, apart from everything else, the verifier
(``verify.py``, which shares no code with this service). Refuses to attest what it does not hold, what was altered
in its own store, and anything at all while no timestamp authority answers (I33).
"""
