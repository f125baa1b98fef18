"""The trained tensors, and where they act."""
