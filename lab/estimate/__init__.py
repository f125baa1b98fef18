"""What runs will take, before they start."""
