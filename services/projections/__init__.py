"""The tallies of every village, election by election, folded from the event log."""
