"""Files of a run: written, locked, checkpointed, read back."""
