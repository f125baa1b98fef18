"""From rows to batches: sources, tokens, images, features."""
