"""SHELL: where demand and usage come from."""
