"""Payment: real-name premium collection.

Owns orders, the notifications of payment channels, confirmations and refunds. Refuses an order on terms other than
those confirmed and signed in this device session, or without evidence's attestation (I17, I18, I33). Takes a payment
only in full, in time and from the policyholder's own account, exactly once (I14, I16); any other money goes back to
the account it came from.
"""
