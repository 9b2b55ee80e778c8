"""The journal: whatever an agent does, written once, to an append-only record."""
