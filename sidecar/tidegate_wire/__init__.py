"""The contract between the operator and the sidecar: the one thing both import.

Law: standard library only, values only. A field may be added; a field that changes its meaning
bumps the schema version beside it, and a reader refuses a version it does not know and goes on
with what it had.
"""
