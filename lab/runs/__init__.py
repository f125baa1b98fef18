"""Run folders read back, compared, pruned."""
