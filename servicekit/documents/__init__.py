"""Paper: documents rendered to PDF, sealed, timestamped.

``fonts`` prepares the fonts once per machine, ``render`` turns a template and data into PDF bytes in worker
processes, ``seal`` signs them, ``timestamp`` speaks RFC 3161, ``qr`` draws QR codes, ``paper`` writes money and
time the way paper wants them. WeasyPrint and pyHanko are imported where they are used: a service that never
makes a document does not pay for them.
"""
