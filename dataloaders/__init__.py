"""What is learned: dataset specifications, indexers, dirmaps, task lists, streams and decoded pixels."""
