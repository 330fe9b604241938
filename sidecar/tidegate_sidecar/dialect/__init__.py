"""What the APIs that pass through look like, as far as measuring needs it.

``paths`` tells which API a request speaks; ``shape`` is what measuring asks of one; each API has a
module of its own, and its msgspec shapes in ``schema``.
"""
