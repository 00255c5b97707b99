"""Shapes that more than one service answers, for the documents of the interface."""

from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

from pydantic import BaseModel, Field, create_model

from shared.counts import Counts

VillageCode = Annotated[str, Field(json_schema_extra={"pattern": r"^\d{2}\.\d{2}\.\d{2}\.\d{4}$"})]
DistrictCode = Annotated[str, Field(json_schema_extra={"pattern": r"^\d{2}\.\d{2}\.\d{2}$"})]

# The members of a tally, for shapes that have others beside them.
COUNTS: Final[dict[str, Any]] = {
    name: (int, Field(ge=0, description=hint.__metadata__[0]))
    for name, hint in get_type_hints(Counts, include_extras=True).items()
}

if TYPE_CHECKING:
    # What the routes build; the schema is of the counts that there are.
    CountsShown = dict[str, Any]
else:
    CountsShown = create_model(
        "Counts", __doc__="The counts of a village, a kecamatan or the whole area.", **COUNTS
    )


def shape(shape_name: str, says: str, *members: dict[str, Any]) -> type[BaseModel]:
    """A shape of some members, each with its type, in order."""
    typed: dict[str, Any] = {}
    for some in members:
        typed |= {
            name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in some.items()
        }
    model: type[BaseModel] = create_model(shape_name, __doc__=says, **typed)
    return model


EXAMPLE_COUNTS: Final = Counts(
    residents=2140,
    eligible=1523,
    eligible_male=760,
    eligible_female=763,
    eligible_recorded=1490,
    eligible_unrecorded=33,
    first_time=58,
    first_time_unrecorded=21,
    ikd_active=212,
    relocating=4,
    under_age=602,
    tni=9,
    polri=5,
    rights_revoked=1,
)
EXAMPLE_BEFORE: Final = EXAMPLE_COUNTS._replace(
    eligible_recorded=1489, eligible_unrecorded=34, first_time_unrecorded=22
)
