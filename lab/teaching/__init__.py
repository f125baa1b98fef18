"""What the notebooks call: helpers, tables, figures, panels."""
