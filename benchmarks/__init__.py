"""What Tidegate costs and what it wins, measured; each module is a command: ``python -m
benchmarks.NAME``.
"""
