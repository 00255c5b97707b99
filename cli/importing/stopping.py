"""Why an import stops."""


class ImportStoppedError(Exception):
    """The import cannot go on; the message is one sentence that says what to do."""
