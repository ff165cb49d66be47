"""Speed measurements beside plain PyTorch and plain loops."""
