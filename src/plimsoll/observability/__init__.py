"""Detectors read a run's events and raise findings; findings reach alert sinks."""
