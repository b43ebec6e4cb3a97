"""The tree of quota against a slow oracle that adds everything up from scratch."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.queue_worlds import make_queue, make_world, quota, random_world
from tiffin.compute.admission_tree import Node, Tree
from tiffin.compute.world import Cohort, FlavorResource

CPU = ("any", "cpu")


def allowed(tree: Tree, used: dict[str, int], what: FlavorResource) -> bool:
    """Slow and from the definition: what children use beyond the part they keep counts at their parent; no node may use
    more than it owns plus its borrowing limit, no root more than it owns."""

    def load(node: Node) -> int:
        own = used.get(node.name, 0) if node.queue else 0
        return own + sum(max(0, load(child) - child.kept(what)) for child in node.children)

    for node in [*tree.queues.values(), *tree.cohorts.values()]:
        owns = node.subtree.get(what, 0)
        limit = node.quotas[what].borrowing_limit if what in node.quotas else None
        if node.parent is None and load(node) > owns:
            return False
        if node.parent is not None and limit is not None and load(node) > owns + limit:
            return False
    return True


@given(st.integers(0, 5000), st.integers(0, 2**16))
def test_free_is_the_most_that_still_breaks_no_limit(seed: int, luck: int) -> None:
    world, _ = random_world(seed)
    tree, chance = Tree(world), random.Random(luck)
    what = chance.choice(sorted({one for queue in world.cluster_queues.values() for one in queue.quotas}))
    step = 1000 if what[1] == "cpu" else 2**30 * 1000
    used: dict[str, int] = {}
    for _ in range(chance.randint(0, 8)):
        name = chance.choice(sorted(tree.queues))
        amount = step * chance.randint(0, 4)
        if amount <= tree.queues[name].free(what):
            tree.queues[name].take(what, amount)
            used[name] = used.get(name, 0) + amount

    name = chance.choice(sorted(tree.queues))
    most = 0
    while allowed(tree, {**used, name: used.get(name, 0) + (most + 1) * step}, what):
        most += 1

    assert tree.queues[name].free(what) == most * step


@given(st.integers(0, 5000))
def test_the_most_a_queue_could_hold_is_what_is_free_when_nobody_uses_anything(seed: int) -> None:
    tree = Tree(random_world(seed)[0])

    assert all(node.most(what) == node.free(what) for node in tree.queues.values() for what in node.quotas)


@given(st.integers(0, 5000), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=12), st.randoms(use_true_random=False))
def test_giving_back_in_any_order_undoes_taking(seed: int, takes: list[tuple[int, int]], chance: random.Random) -> None:
    world, _ = random_world(seed)
    tree = Tree(world)
    names = sorted(tree.queues)
    what = min(next(iter(world.cluster_queues.values())).quotas)
    done = [(names[which % len(names)], amount * 1000) for which, amount in takes]
    for name, amount in done:
        tree.queues[name].take(what, amount)
    chance.shuffle(done)

    for name, amount in done:
        tree.queues[name].give_back(what, amount)

    assert all(value == 0 for node in [*tree.queues.values(), *tree.cohorts.values()] for value in node.usage.values())


def test_a_lending_limit_keeps_the_rest_at_home() -> None:
    tree = Tree(make_world(make_queue("a", quota(10, lend=3)), make_queue("b", 2)))

    assert tree.queues["b"].free(CPU) == 5000
    assert tree.queues["a"].free(CPU) == 12000


def test_a_borrowing_limit_bounds_what_a_queue_takes_from_others() -> None:
    tree = Tree(make_world(make_queue("a", 10), make_queue("b", quota(2, borrow=1))))

    assert tree.queues["b"].free(CPU) == tree.queues["b"].most(CPU) == 3000


def test_a_cohorts_own_quota_is_everybodys() -> None:
    extra = Cohort("all", quotas={CPU: quota(5)})

    assert Tree(make_world(make_queue("a", 1), extra)).queues["a"].free(CPU) == 6000


def test_the_height_tells_how_far_the_quota_comes_from() -> None:
    world = make_world(
        make_queue("a", 1, cohort="left"), make_queue("b", 2, cohort="left"), make_queue("c", 8, cohort="right"),
        Cohort("left", "root"), Cohort("right", "root"),
    )  # fmt: skip
    node = Tree(world).queues["a"]

    assert node.lowest_that_fits(CPU, 1000) == (0, True)
    assert node.lowest_that_fits(CPU, 3000) == (1, True)
    assert node.lowest_that_fits(CPU, 9000) == (2, False)


def test_cohorts_in_a_circle_serve_nobody() -> None:
    world = make_world(make_queue("a", 1, cohort="x"), make_queue("b", 1, cohort="ok"), Cohort("x", "y"), Cohort("y", "x"))
    tree = Tree(world)

    assert not tree.usable("a")
    assert tree.usable("b")
