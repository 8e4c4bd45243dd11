"""Prometheus for the local run: its configuration, rules, their tests, and a page of the main figures."""
