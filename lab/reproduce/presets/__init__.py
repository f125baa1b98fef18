"""The presets of `dept-lab reproduce`: one YAML file each, read by `lab.reproduce.preset`."""
