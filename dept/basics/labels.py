"""The label of positions that have no loss."""

IGNORED_LABEL = -100  # transformers has the same
