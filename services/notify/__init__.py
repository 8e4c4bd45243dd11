"""Notify: SMS to customers.

Owns the templates, the wish to send and what became of it. A wish is taken at once and sent by itself, once, also
after a crash; the phone and what fills the template are opened only for the moment of sending. Refuses a template
it does not have. A one-time code whose time is over is never sent.
"""
