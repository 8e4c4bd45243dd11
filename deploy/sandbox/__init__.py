"""Stand-ins of the outside parties, in one process. See README.md beside this file."""
