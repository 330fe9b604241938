"""SHELL over typer and rich: what people type."""
