"""The study file: how it is written, checked, and what identifies each of its results. No torch here."""
