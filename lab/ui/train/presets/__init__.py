"""The form's presets: one YAML file each, read by `lab.ui.train.form`."""
