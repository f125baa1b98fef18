"""The adapter folder: written, read, described by a card."""
