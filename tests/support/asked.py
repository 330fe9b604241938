"""Requests' bodies that many tests send."""

PLAIN = b'{"model":"big","messages":[]}'
STREAM = b'{"model":"big","stream":true}'
STREAM_USAGE = b'{"model":"big","stream":true,"stream_options":{"include_usage":true}}'
