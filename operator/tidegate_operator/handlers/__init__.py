"""SHELL: kopf in, one queue out; the loop that looks, decides, acts and tells."""
