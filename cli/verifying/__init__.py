"""`cacah verify`: proves from the log alone that all that was made of it is right."""
