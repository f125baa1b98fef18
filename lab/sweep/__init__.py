"""Grids of settings, chosen by validation."""
