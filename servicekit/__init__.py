"""The ground every service stands on: runner, bus, store, blobs, vault, documents, telemetry.

Knows nothing of insurance. Holds only what at least two services need.
"""
