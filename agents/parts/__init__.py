"""Building blocks that several agents share: optimiser, buffers, penalties, projections, quantisers."""
