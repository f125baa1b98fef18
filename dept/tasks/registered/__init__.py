"""The tasks that ship with the project: one YAML file each, read by `dept.tasks.registry`."""
