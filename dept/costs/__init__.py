"""What a training step and an inference batch cost: FLOPs and bytes, from sizes alone."""
