"""The scores of the paper's tasks."""
