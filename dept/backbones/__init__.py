"""Frozen backbones and image encoders: located, loaded, placed, fingerprinted."""
