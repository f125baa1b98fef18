"""The heavier figures that the project promises, which `make acceptance` writes to docs/acceptance.md."""
