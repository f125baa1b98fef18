"""The presets: one YAML file each, read by `dept.runs.resolve`."""
