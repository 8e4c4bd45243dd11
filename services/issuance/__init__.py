"""Issuance: policy numbers, the policies' paper, their seal, and whether one is genuine.

Owns the serials, one policy for each product of a paid journey, and the public register a policy is checked
against. Refuses to number what was not paid in full, on the very terms that were read, confirmed and signed by
whom identity was proven; what it refuses it says once, so that the money can go back. Waits, and never issues,
while evidence or the timestamp authority is down.
"""
