"""A frozen backbone with the parts that are trained."""
