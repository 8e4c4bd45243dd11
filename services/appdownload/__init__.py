"""App download: referral to the insurer's own app, and whether it worked.

Owns one plain link a journey, offered only after issuance, with a token that nobody can guess, and the steps the
app reports under it. Nothing depends on it: a policy is downloaded without the app (I29). Refuses tokens it never
gave and steps that cannot come yet.
"""
