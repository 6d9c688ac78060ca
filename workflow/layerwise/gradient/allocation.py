"""Which processes train which partition of a network, and which rows of a batch each of them takes.

Processes are counted partition by partition: of an allocation 3-1, processes 0 to 2 train partition 1 and process 3
partition 2. A process takes the same share of every batch, from its first row on. Those of two partitions have rows in
common only where their shares do, whatever the size of a batch: who sends to whom is known before the first one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Allocation:
    """Processes of each partition, from the lowest."""

    sizes: tuple[int, ...]

    @property
    def processes(self) -> int:
        return sum(self.sizes)

    def ranks(self, partition: int) -> range:
        """Return the numbers of the processes of a partition, both from 0."""
        first = sum(self.sizes[:partition])
        return range(first, first + self.sizes[partition])

    def partition_of(self, rank: int) -> int:
        return next(partition for partition in range(len(self.sizes)) if rank in self.ranks(partition))

    def named(self, rank: int) -> str:
        """Return a process by its number, with its partition, as in ``3 (partition 2)``."""
        return f"{rank} (partition {self.partition_of(rank) + 1})"


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of a batch: as many rows as the others, or one more or less."""

    index: int
    size: int

    def of(self, rows: int) -> slice:
        return slice(rows * self.index // self.size, rows * (self.index + 1) // self.size)

    def meets(self, other: Share) -> bool:
        """Tell whether a batch can have rows that both take."""
        mine, theirs = (self.index, self.index + 1), (other.index, other.index + 1)
        return mine[0] * other.size < theirs[1] * self.size and theirs[0] * self.size < mine[1] * other.size

    def common(self, other: Share, rows: int) -> slice:
        """Return the rows that both take, counted from the first one of this share."""
        mine, theirs = self.of(rows), other.of(rows)
        first = max(mine.start, theirs.start)
        return slice(first - mine.start, max(first, min(mine.stop, theirs.stop)) - mine.start)
