"""Time and memory of the methods, each measurement in a fresh process."""
