"""What the lab stands on: processes, pages, units."""
