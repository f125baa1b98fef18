"""What surrounds the method: runs, measurements, figures, reports."""
