"""Writing the documents of the interface from the code, and checking those that are committed."""
