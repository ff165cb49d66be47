"""Networks that agents train, and where their pretrained weights come from."""
