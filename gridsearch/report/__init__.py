"""Tables, plots and significance tests of a search and its final runs."""
