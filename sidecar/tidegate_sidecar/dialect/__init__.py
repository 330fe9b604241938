"""What the APIs that pass through look like, as far as measuring needs it."""
