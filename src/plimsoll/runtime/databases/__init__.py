"""The databases that transaction tools work on, and the marks that their transactions leave there."""
