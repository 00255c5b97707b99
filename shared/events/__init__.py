"""The facts that the log holds, how they are written, and how they travel."""
