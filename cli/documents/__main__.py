"""`make documents` writes the documents of the interface; `--check` is part of `make check`."""

from typing import Annotated

import typer

from cli.documents import files
from cli.documents.files import Findings
from shared.openapi import UndocumentedRouteError


def documents(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where the files are not right.")
    ] = False,
    release: Annotated[
        bool, typer.Option("--release", help="Let later documents be compared with these.")
    ] = False,
) -> None:
    """Write docs/api from the code."""
    try:
        written = files.written()
    except UndocumentedRouteError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if check:
        _require_none(files.check(written))
        typer.echo("The documents of the interface are what the code says, and break nothing.")
        return
    files.write(written)
    if release:
        files.release(written)
    typer.echo(f"Written to {files.FOLDER}: {', '.join(written)}.")


def _require_none(found: Findings) -> None:
    if found.are_none:
        return
    for name in found.drifted:
        typer.echo(f"docs/api/{name} is not what the code says.", err=True)
    if found.drifted:
        typer.echo("Run `make documents`, look at the difference, and commit it.", err=True)
    for each in found.broken:
        typer.echo(f"It breaks those who build on the interface: {each}", err=True)
    if found.broken:
        typer.echo(
            "Mend it, or, where that is meant, name each in docs/api/BREAKING.md under"
            f" “{files.UNRELEASED.strip('# ')}”, with what they must do:",
            err=True,
        )
        for each in found.broken:
            typer.echo(f"- `{each}`: …", err=True)
    for each in found.accepted_for_nothing:
        typer.echo(f"docs/api/BREAKING.md names what is not broken; remove: {each}", err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(documents)
