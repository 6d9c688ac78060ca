"""What fits by gradient share."""
