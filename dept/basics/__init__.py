"""What everything stands on: checked settings, atomic files, settings files, provenance."""
