"""A simulated channel and customer over the real HTTP API: for the demo, the bench and the tests."""
