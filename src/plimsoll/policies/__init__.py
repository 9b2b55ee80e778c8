"""Protections, each usable alone. A policy is a frozen description; its state is separate."""
