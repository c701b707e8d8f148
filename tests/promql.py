"""PromQL as tests look at it: which metrics and labels an expression names, and whether the product serves them."""

from collections.abc import Iterator

from promql_parser import AggregateExpr, BinaryExpr, Expr, VectorSelector, parse, walk

from ops.metrics import ENDPOINT_METRICS, METRICS, PREFIX, Metric

TARGET = {"instance", "job"}
"""The labels that Prometheus gives to whatever it scrapes."""


def _series_of(metric: Metric) -> Iterator[tuple[str, set[str]]]:
    """The names under which Prometheus has a metric, each with its labels."""
    labels = set(metric.labels) | TARGET
    name = PREFIX + metric.name
    if metric.kind == "histogram":
        yield from ((f"{name}_bucket", labels | {"le"}), (f"{name}_sum", labels), (f"{name}_count", labels))
    else:
        yield name, labels


SERVED: dict[str, set[str]] = {
    "up": TARGET,
    **{name: labels for metric in (*METRICS, *ENDPOINT_METRICS) for name, labels in _series_of(metric)},
}
"""What Prometheus can know of the product: the labels of each series by its name."""


def nodes(expression: str) -> list[Expr]:
    """The parts of an expression, from the whole to the smallest. Raises ValueError where it cannot be parsed."""
    found: list[Expr] = []
    walk(parse(expression), found.append)  # what append returns lets the walk go on
    return found


def metrics_of(expression: str) -> set[str]:
    """The names of the series that an expression asks for."""
    return {str(node.name) for node in nodes(expression) if isinstance(node, VectorSelector)}


def unknown_in(expression: str) -> list[str]:
    """What an expression names that nobody serves: metrics, labels of a metric, labels that it groups or joins by."""
    parts = nodes(expression)
    selectors = [node for node in parts if isinstance(node, VectorSelector)]
    wrong = [str(node.name) for node in selectors if node.name not in SERVED]
    served = [(node, SERVED[str(node.name)]) for node in selectors if node.name in SERVED]
    wrong += [
        f"{node.name}{{{matcher.name}}}"
        for node, labels in served
        for matcher in node.matchers.matchers
        if matcher.name not in labels
    ]
    everything = set().union(*(labels for _, labels in served)) if served else set()
    return wrong + [f"by {label}" for part in parts for label in _labels_named_by(part) if label not in everything]


def _labels_named_by(part: Expr) -> list[str]:
    if isinstance(part, AggregateExpr) and part.modifier:
        return part.modifier.labels
    if isinstance(part, BinaryExpr) and part.modifier:
        matching = part.modifier.matching
        return [*(matching.labels if matching else []), *(part.modifier.group_labels or [])]
    return []
