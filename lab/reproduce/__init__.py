"""The paper's tasks as a batch of notebooks."""
