"""The registry's rules: pure, without I/O, clock or randomness."""
