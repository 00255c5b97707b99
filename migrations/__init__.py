"""The schema of every service, one PostgreSQL schema each, in numbered steps."""
