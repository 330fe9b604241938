"""Values about who else sets a target's replica count.

Law: values only, JSON-able where a restart must get them back; every field has a default, so old
memories can be read.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """A HorizontalPodAutoscaler that points at a workload."""

    name: str
    owner: str = ""
    """What made it and would make it anew, such as ``ScaledObject/chat``; empty: a person."""
    asks: bool = False
    """Whether a metric of its is the count that a policy wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandHold:
    """Somebody set the count, and Tidegate leaves it to them for a while."""

    count: int
    """What they set."""
    before: int
    """What stood until then; setting this again hands back."""
    asked: bool
    """Whether ``before`` was Tidegate's own doing."""
    by: str = ""
    """Field manager of the write; empty: not known."""
    since: float = 0.0
    until: float = 0.0
    generation: int = 0
    """Of the policy's spec; a new one ends the hold."""
    contested: bool = False
    """It is one of several in a row: not a person but something that never gives in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandsMemory:
    """What is known of the target's count, so that a write by somebody else can be told from
    one's own."""

    uid: str = ""
    """Of the workload; a new one under the same name is met anew."""
    standing: int | None = None
    """The count that is accounted for: found, written, or somebody's hold; ``None``: none yet."""
    ours: bool = False
    """Whether ``standing`` was written here."""
    asking: int | None = None
    """A count being written whose answer has not come: after a crash or a cut connection either
    one may stand."""
    hold: HandHold | None = None
    reverts: int = 0
    """How many times in a row what was written here was set to something else."""
    held_until: float = 0.0
    """End of the last hold."""
