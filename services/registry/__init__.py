"""Decides on what stations send, appends it to the event log and publishes the log."""
