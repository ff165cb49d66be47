"""Paradigms and task lists: which image belongs to which task, in which order."""
