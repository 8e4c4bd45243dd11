"""Who is this: the customer's device session, consents, and the proof that they are the policyholder.

Owns the device sessions and the judgement of every proof of possession (I12), the notice that the process is
recorded and each consent (I9), the mode the pages are shown in and the idle clock that goes with it (I26), the
real-name check and its two equal ways of being completed, by face or by SMS code and bank card (I7, I8), the
entry to a human (I27), the insurer's own record of the verified customer.

Refuses whatever does not come from the journey's own device with a fresh proof, whoever asks (I13); a face
check without its separate consent; a person who is not the policyholder. Keeps no image (I10), no code, no
card number, no session token.
"""
