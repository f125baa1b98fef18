"""Run folders, the settings of a run, its key."""
