"""One file per dataset: its specification, its index and its preparation."""
