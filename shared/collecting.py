"""Sparing the garbage collector work that frees nothing."""

import gc
from typing import Final

from shared.regions import village_codes

# More than a batch of a service makes and drops, so that most of it is gone before anybody looks.
COLLECT_AFTER_OBJECTS: Final = 50_000


def spare_collecting() -> None:
    """Keep the garbage collector off what lives as long as the process does; to be called once
    the program is there.

    The regions and the program are 200,000 objects, and one batch makes enough new ones to have
    all of them looked through several times: that was a third of an append's time, and a sixth of
    the notifier's.
    """
    village_codes()
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, *gc.get_threshold()[1:])
