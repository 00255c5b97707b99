"""The rules of counting: pure, without a clock, a database or a broker."""
