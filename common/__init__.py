"""Shared by all packages: errors, the command line, atomic files, input problems, progress lines."""
