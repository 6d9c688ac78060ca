"""Mathematics: tensors in, tensors out; no files, no study."""
