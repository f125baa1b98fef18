"""Our results beside the paper's tables."""
