"""The outlines of villages as an SVG draws them, from the public boundaries in `shared/data`.

They are for looking at, never to decide who lives where.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from shared.regions import DATA, regions

AREA: Final = "15.01"
BOUNDARIES: Final = DATA / "batas_desa_kerinci.geojson"
ATTRIBUTION: Final = (
    "Batas desa: cahyadsn/wilayah_boundaries (lisensi MIT), disederhanakan; untuk dilihat, bukan"
    " penentu batas wilayah."
)

# 1600 units for the 79 km from west to east: a screen has no more.
WIDTH: Final = 1600
LEAST_CORNERS: Final = 3

# A point on the drawing, from the left and from the top.
Point = tuple[int, int]
Ring = Sequence[Sequence[float]]


def drawing(boundaries: Path = BOUNDARIES) -> dict[str, Any]:
    """`{"area", "name", "attribution", "width", "height", "villages": {code: path}}`, each path
    being an SVG path's `d` in whole units, north up.

    Neighbours share their corners, so that rounded they still meet. Near the equator a degree of
    longitude is as long as one of latitude to a thousandth: no projection is needed.
    """
    features = json.loads(boundaries.read_bytes())["features"]
    rings = {feature["id"]: list(_rings(feature["geometry"])) for feature in features}
    corners = [corner for of_village in rings.values() for ring in of_village for corner in ring]
    west, east = min(x for x, _ in corners), max(x for x, _ in corners)
    south, north = min(y for _, y in corners), max(y for _, y in corners)
    scale = WIDTH / (east - west)

    def drawn(ring: Ring) -> list[Point]:
        return [(round((x - west) * scale), round((north - y) * scale)) for x, y in ring]

    return {
        "area": AREA,
        "name": regions()[AREA].name,
        "attribution": ATTRIBUTION,
        "width": WIDTH,
        "height": round((north - south) * scale),
        "villages": {
            code: "".join(_path(drawn(ring)) for ring in of_village)
            for code, of_village in rings.items()
        },
    }


def _rings(geometry: dict[str, Any]) -> Iterator[Ring]:
    """The rings of a polygon or of several, holes too."""
    polygons = geometry["coordinates"]
    for polygon in [polygons] if geometry["type"] == "Polygon" else polygons:
        yield from polygon


def _path(ring: list[Point]) -> str:
    """A closed ring, each corner as the step from the one before; nothing for one that vanished."""
    steps = [
        (x - before_x, y - before_y)
        for (before_x, before_y), (x, y) in pairwise(ring)
        if (x, y) != (before_x, before_y)
    ]
    if len(steps) < LEAST_CORNERS:
        return ""
    # The last step is the closing one, which Z draws.
    written = "".join(f"{x:d}{y:+d}" if x < 0 else f" {x:d}{y:+d}" for x, y in steps[:-1])
    return f"M{ring[0][0]} {ring[0][1]}l{written.strip()}Z"
