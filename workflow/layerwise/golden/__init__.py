"""Golden fits: a fixed set of tiny fits whose weights tell one revision of the package's numbers from another."""
