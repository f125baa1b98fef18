"""One unit of work, and where it runs."""
