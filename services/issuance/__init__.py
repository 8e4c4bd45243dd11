"""Policies: their numbers, their paper, their seal, and whether one is genuine."""
