"""What fits by gradient share: one training loop, losses, optimisers, schedules, mini-batches."""
