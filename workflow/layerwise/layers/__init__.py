"""Layer words, and the torch modules that they stand for."""
