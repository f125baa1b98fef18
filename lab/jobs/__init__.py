"""Jobs: units of work, and the engines that run them."""
