"""SHELL over aiohttp: injection webhook, config for sidecars, the status page."""
