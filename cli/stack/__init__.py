"""The local stack: PostgreSQL, Kafka and the three services as child processes, without Docker."""

from cli.stack.errors import StackError
from cli.stack.parts import Part
from cli.stack.settings import StackSettings
from cli.stack.supervisor import Stack

__all__ = ["Part", "Stack", "StackError", "StackSettings"]
