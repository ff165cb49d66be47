"""Worker processes that execute runs side by side."""
