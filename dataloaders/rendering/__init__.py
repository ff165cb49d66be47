"""Drawing of the generated dataset core50_mini: solids, scenes, rasterisation."""
