"""A process that works through shares and does nothing: its last word is how many it was given.

`python -m tests.support.share_process`, spoken to as `services.projections.replay_share` is.
"""

import sys

import orjson


def main() -> None:
    given = 0
    sys.stdin.buffer.readline()
    while sys.stdin.buffer.readline().strip():
        given += 1
        answer({"events": 1})
    answer({"given": given})


def answer(body: dict[str, int]) -> None:
    sys.stdout.buffer.write(orjson.dumps(body) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
