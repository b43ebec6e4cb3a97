"""The tree of quota: what each queue and cohort owns, uses, lends and may still take.

A node keeps back what its lending limit does not lend; the rest of its quota belongs to its parent. Usage fills the
part kept back first, the rest counts at the parent. All amounts are in thousandths. A tree is scratch paper of one
simulation: it is built from a `World`, changed in place, and never shown to anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tiffin.compute.world import FlavorQuota, FlavorResource, World

__all__ = ["Node", "Tree"]

NOTHING = FlavorQuota(0)


class Node:
    """A ClusterQueue (a leaf) or a Cohort."""

    __slots__ = ("children", "name", "parent", "queue", "quotas", "subtree", "usage", "weight")

    def __init__(self, name: str, *, queue: bool, quotas: Mapping[FlavorResource, FlavorQuota], weight: float) -> None:
        self.name = name
        self.queue = queue
        self.quotas = quotas
        self.weight = weight
        self.parent: Node | None = None
        self.children: list[Node] = []
        self.subtree: dict[FlavorResource, int] = {}
        self.usage: dict[FlavorResource, int] = {}

    def above(self) -> Iterator[Node]:
        """Its cohorts, from the nearest to the root."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def root(self) -> Node:
        """The top of its tree: itself, when it belongs to no cohort."""
        node = self
        while node.parent is not None:
            node = node.parent
        return node

    def queues(self) -> Iterator[Node]:
        """The ClusterQueues under it."""
        for child in self.children:
            if child.queue:
                yield child
            else:
                yield from child.queues()

    def height(self) -> int:
        """Distance to its furthest leaf."""
        return max((1 if child.queue else child.height() + 1 for child in self.children), default=0)

    def kept(self, what: FlavorResource) -> int:
        """Quota that its lending limit keeps from everybody else."""
        limit = self.quotas.get(what, NOTHING).lending_limit
        return 0 if limit is None else max(0, self.subtree.get(what, 0) - limit)

    def kept_free(self, what: FlavorResource) -> int:
        return max(0, self.kept(what) - self.usage.get(what, 0))

    def free(self, what: FlavorResource) -> int:
        """What it may still take, own and borrowed. Negative when quota was taken away under its feet."""
        subtree, used = self.subtree.get(what, 0), self.usage.get(what, 0)
        if self.parent is None:
            return subtree - used
        from_above = self.parent.free(what)
        limit = self.quotas.get(what, NOTHING).borrowing_limit
        if limit is not None:
            kept = self.kept(what)
            from_above = min(from_above, subtree - kept - max(0, used - kept) + limit)
        return self.kept_free(what) + from_above

    def most(self, what: FlavorResource) -> int:
        """What it could hold if nobody used anything: a request above it never fits."""
        subtree = self.subtree.get(what, 0)
        if self.parent is None:
            return subtree
        found = self.kept(what) + self.parent.most(what)
        limit = self.quotas.get(what, NOTHING).borrowing_limit
        return found if limit is None else min(found, subtree + limit)

    def take(self, what: FlavorResource, amount: int) -> None:
        """Add usage here, and above for what exceeds the part kept back."""
        kept_free = self.kept_free(what)
        self.usage[what] = self.usage.get(what, 0) + amount
        if self.parent is not None and amount > kept_free:
            self.parent.take(what, amount - kept_free)

    def give_back(self, what: FlavorResource, amount: int) -> None:
        """The reverse of `take`."""
        above = self.usage.get(what, 0) - self.kept(what)
        self.usage[what] = self.usage.get(what, 0) - amount
        if self.parent is not None and above > 0:
            self.parent.give_back(what, min(amount, above))

    def take_all(self, usage: Mapping[FlavorResource, int]) -> None:
        for what, amount in usage.items():
            self.take(what, amount)

    def give_back_all(self, usage: Mapping[FlavorResource, int]) -> None:
        for what, amount in usage.items():
            self.give_back(what, amount)

    def borrows_with(self, what: FlavorResource, amount: int = 0) -> bool:
        """Whether it would use more than it owns."""
        return self.subtree.get(what, 0) < self.usage.get(what, 0) + amount

    def owns_all_it_uses(self, needed: Iterable[FlavorResource]) -> bool:
        return not any(self.borrows_with(what) for what in needed)

    def fits(self, usage: Mapping[FlavorResource, int]) -> bool:
        return all(max(0, self.free(what)) >= amount for what, amount in usage.items())

    def lowest_that_fits(self, what: FlavorResource, amount: int) -> tuple[int, bool]:
        """Height of the lowest node whose own quota has room for `amount` here, and whether that is less than the whole tree."""
        if not self.borrows_with(what, amount) or self.parent is None:
            return 0, self.parent is not None
        rest = amount - self.kept_free(what)
        for node in self.above():
            if not node.borrows_with(what, rest):
                return node.height(), node.parent is not None
            rest -= node.kept_free(what)
        return self.root().height(), False


class Tree:
    """All queues and cohorts of a world, without usage yet."""

    def __init__(self, world: World) -> None:
        self.queues: dict[str, Node] = {}
        self.cohorts: dict[str, Node] = {}
        for queue in world.cluster_queues.values():
            node = self.queues[queue.name] = Node(queue.name, queue=True, quotas=queue.quotas, weight=queue.fair_weight)
            if queue.cohort is not None:
                self.put_under(node, queue.cohort, world)
        for name in world.cohorts:
            self.cohort(name, world)
        self.cyclic = {name for name, node in self.cohorts.items() if in_a_circle(node)}
        for node in [*self.cohorts.values(), *self.queues.values()]:
            if node.parent is None:
                add_up(node)

    def cohort(self, name: str, world: World) -> Node:
        """A cohort needs no object of its own: a name that a queue mentions is enough."""
        if name not in self.cohorts:
            spec = world.cohorts.get(name)
            node = Node(name, queue=False, quotas=spec.quotas if spec else {}, weight=spec.fair_weight if spec else 1.0)
            self.cohorts[name] = node
            if spec is not None and spec.parent:
                self.put_under(node, spec.parent, world)
        return self.cohorts[name]

    def put_under(self, node: Node, parent: str, world: World) -> None:
        node.parent = self.cohort(parent, world)
        node.parent.children.append(node)

    def usable(self, queue: str) -> bool:
        """Queues under a circle of cohorts admit nothing."""
        node = self.queues[queue]
        return node.parent is None or node.parent.name not in self.cyclic


def in_a_circle(node: Node) -> bool:
    seen, at = {id(node)}, node.parent
    while at is not None:
        if id(at) in seen:
            return True
        seen.add(id(at))
        at = at.parent
    return False


def add_up(node: Node) -> None:
    """Own quota plus what the children lend."""
    node.subtree = {what: quota.nominal for what, quota in node.quotas.items()}
    for child in node.children:
        add_up(child)
        for what, amount in child.subtree.items():
            node.subtree[what] = node.subtree.get(what, 0) + amount - child.kept(what)
