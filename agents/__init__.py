"""What learns: one file per agent, and the few shared pieces that agents are made of."""
