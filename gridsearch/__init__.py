"""Grid search: grid files, engines, selection on validation data, tables of the winners."""
