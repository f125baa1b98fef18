"""The numbers that the paper prints, and why a result may not stand beside them."""
