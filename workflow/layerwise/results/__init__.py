"""All that a study has measured, and the verdicts on published values."""
