"""The heavier figures that the project promises; `make acceptance` measures them and writes docs/acceptance.md."""
