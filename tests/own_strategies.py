"""Strategies as a user writes them, sound and broken: imported by name from test configurations."""


def backwards(views, count, rng):
    return range(count - 1, -1, -1)


def idlest(views, count, rng):
    seen = views()
    return sorted(range(count), key=lambda index: seen[index].in_flight)


def only_the_second(views, count, rng):
    return [1]


def out_of_range(views, count, rng):
    return [count, 0]


def twice(views, count, rng):
    return [0] * (count + 1)


def nothing(views, count, rng):
    return []


def words(views, count, rng):
    return ["first"]


def no_sequence(views, count, rng):
    return None


def crashing(views, count, rng):
    raise RuntimeError("a bug of the user's")


class Alternating:
    """Holds state: each route has its own."""

    def __init__(self):
        self.calls = 0

    def __call__(self, views, count, rng):
        self.calls += 1
        return sorted(range(count), key=lambda index: (index + self.calls) % count)


class Demanding:
    def __init__(self, argument):
        raise AssertionError("nobody gives it one")


NOT_CALLABLE = 3


def best_first(views, count, rng):
    return range(count)


best_first.ranks = True
