"""Proposal: what is being bought.

Owns the intake from channels, the terms locks, the choice of optional products and their confirmation, the link,
expiry and withdrawal. Refuses whatever the products' data does not allow, and every pre-selected product
(I4, I5, I17, I18).
"""
