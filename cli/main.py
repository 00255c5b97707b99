"""The command `cacah`: joins the subcommands, each of which lives in a module of its own."""

import signal

# Ctrl-C while the modules are still being read ends the program at once, without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import typer  # noqa: E402

from cli import demo, parked, tokens, up  # noqa: E402
from cli.acknowledged import acknowledged  # noqa: E402
from cli.as_of import as_of  # noqa: E402
from cli.comparing import supplement  # noqa: E402
from cli.comparing.command import compare  # noqa: E402
from cli.explain import explain  # noqa: E402
from cli.following.command import follow  # noqa: E402
from cli.following.listening import listen  # noqa: E402
from cli.importing.command import import_file  # noqa: E402
from cli.replay import replay  # noqa: E402
from cli.republish import republish  # noqa: E402
from cli.verifying.command import verify  # noqa: E402

signal.signal(signal.SIGINT, signal.default_int_handler)

main = typer.Typer(
    name="cacah",
    help="Voter tallies of every village, from the events of civil registration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
main.command("up")(up.up)
main.command("down")(up.down)
main.command("demo")(demo.demo)
main.command("import")(import_file)
main.command("as-of")(as_of)
main.command("explain")(explain)
main.command("follow")(follow)
main.command("listen")(listen)
main.command("republish")(republish)
main.command("replay")(replay)
main.command("verify")(verify)
main.command("acknowledged")(acknowledged)
main.command("compare")(compare)
main.add_typer(supplement.app, name="supplement")
main.add_typer(tokens.app, name="tokens")
main.add_typer(parked.app, name="parked")

if __name__ == "__main__":
    main()
