"""How a recording station is called: by its code, and as the source of what it sends."""

import re
from typing import Final

SOURCE_PREFIX: Final = "urn:dukcapil:station:"
STATION_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SOURCE_FORM: Final = re.compile(SOURCE_PREFIX + STATION_CODE.pattern)
