"""Villages that grow by records on the topic, and what the feed must then tell of them."""

from typing import Any

from tests.support.notifier_process import NotifierProcess, TopicWriter
from tests.support.village_records import written


class Growing:
    """Villages that gain one resident with each record."""

    def __init__(self, notifier: NotifierProcess, topic: TopicWriter) -> None:
        self._notifier = notifier
        self._topic = topic
        self.residents: dict[str, int] = {}

    async def grow(self, *villages: str) -> None:
        """Write a record of each village; nothing waits for its being told."""
        records = []
        for village in villages:
            now = self.residents[village] = self.residents.get(village, 0) + 1
            records.append(
                written(revision=now, position=now, village=village, residents=now, before=now - 1)
            )
        await self._topic.write(records)

    async def told(self) -> list[dict[str, Any]]:
        """The whole feed, once it has told all."""
        return await self._notifier.until_told(self.residents)
