"""What all unit tests stand on.

Law: how fast a machine is fails none of them: pytest's time-out bounds a hang, and Hypothesis's
own deadline of 200 ms a case would be met by any stall of a busy machine.
"""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
