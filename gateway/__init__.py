"""The edge: HTTP for customers, channels, staff and the public, and the fan-out of issuance facts.

Composes, never decides: sessions and proofs are judged by identity, every step by the service that owns it. What
it keeps is of the edge alone: one-time downloads, delivered webhooks, the log of unmasking, rate limits. Refuses
what is malformed, too large, too often, or comes with the wrong kind of credentials.
"""
