"""Disclosure: what must be read, and the proof that it was.

Owns opening, reading and confirming of every mandatory document, the deadly points, the needs questions and the
insurer's own questions. Refuses a confirmation before the end was reached, before the minimum dwell of that version
is over by the server's clock, of another version, or of several documents at once (I1-I3, I6, I30, I31).
"""
