"""The vocabulary that everything else shares: time, chance, identifiers, canonical JSON, errors, calls and events.

Imports the standard library and msgspec only.
"""
