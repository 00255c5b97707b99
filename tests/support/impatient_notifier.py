"""The notifier with other limits than in production, so that a test need not wait for them:
`CACAH_TEST_LIMITS` is as `streaming.HEARTBEAT_S=0.5 event_stream.STALLED_S=1`."""

import importlib
import os
import sys

from services.notifier.__main__ import main

if __name__ == "__main__":
    for limit in os.environ["CACAH_TEST_LIMITS"].split():
        name, _, value = limit.partition("=")
        module, _, constant = name.partition(".")
        found = importlib.import_module(f"services.notifier.{module}")
        assert hasattr(found, constant), f"{name} is no limit of the notifier"
        setattr(found, constant, type(getattr(found, constant))(value))
    sys.exit(main())
