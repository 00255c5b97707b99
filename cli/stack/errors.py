"""What stops the local stack from starting, said in one sentence that also says what to do."""


class StackError(Exception):
    """A reason why the stack cannot run that the person at the keyboard can remove."""


class InterruptedStartError(StackError):
    """Somebody asked the stack to stop while it was still starting."""
