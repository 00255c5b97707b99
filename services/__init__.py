"""The three programs; they never import each other."""
