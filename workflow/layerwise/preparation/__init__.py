"""From what a source gives to the splits that every fit sees, in memory and on disk."""
