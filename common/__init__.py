"""Shared by all packages: errors, the command line, atomic files, locks, input problems, progress bars."""
