"""One run: trial, seeds, experiment, the learning loop."""
