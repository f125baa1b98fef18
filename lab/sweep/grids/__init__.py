"""The sweeps that ship with the lab: one YAML file each, read by `lab.sweep.grid`."""
