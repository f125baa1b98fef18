"""The basics of the lab: processes, HTML pages, units, the machine."""
