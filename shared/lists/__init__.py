"""Lists as offices have them: CSV, DP4's `#`-delimited text and XLSX, a row at a time."""
