"""Signing: the application forms, the declaration and the name in the customer's own hand.

Owns the forms' first revisions, the ink checks, the one act of signing over every document, and the sealed forms.
Refuses to sign what was not read, not reviewed or not confirmed, by whom identity was not proven, and ink that is
no handwriting. Whether the writing reads as the name is recorded as not judged.
"""
