"""What the whole package is built on: checked settings, atomic files, settings files, provenance."""
