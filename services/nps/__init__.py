"""NPS: the survey after issuance, and what it says.

Owns the invitation, at most one a person in 90 days across policies and journeys, the answer or the skip, and the
score with its error. Nothing depends on it: skipping costs nothing, no answer changes a premium or a service (I29).
Refuses answers where nobody was asked, and a second answer.
"""
