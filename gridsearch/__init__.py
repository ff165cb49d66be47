"""Many experiments: grid files, engines that run trials, selection on validation data, tables of the winners."""
