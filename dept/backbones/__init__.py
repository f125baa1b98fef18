"""Frozen backbones and image encoders: found, loaded, placed, fingerprinted."""
