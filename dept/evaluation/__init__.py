"""Predictions, label scoring, and runs loaded for use."""
