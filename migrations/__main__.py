"""`python -m migrations`: bring the database named by CACAH_DATABASE_URL to the newest schema."""

import os
import sys

from migrations.upgrading import upgrade


def main() -> int:
    url = os.environ.get("CACAH_DATABASE_URL")
    if not url:
        sys.stderr.write("Set CACAH_DATABASE_URL to the database that is to be migrated.\n")
        return 2
    upgrade(url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
