"""The endpoint counts the requests that ask for a refresh, by what they were given."""

from concurrent.futures import ThreadPoolExecutor

from endpoint import TRON, Endpoint, StartEndpoint
from prometheus_client.parser import text_string_to_metric_families

from api.refresh_outcomes import OUTCOMES
from ops.metrics import ENDPOINT_METRICS, PREFIX, REFRESH_OUTCOMES

REFRESH = "?refresh=true&networks=tron"


def refreshes(endpoint: Endpoint) -> dict[str, float]:
    """The count of each outcome that was given at all."""
    text = endpoint.get(path="/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    named = [sample for sample in samples if sample.name == f"{PREFIX}refreshes_total"]
    assert {sample.labels["outcome"] for sample in named} == set(REFRESH_OUTCOMES), "each is there from the start"
    return {sample.labels["outcome"]: sample.value for sample in named if sample.value}


def refreshed(endpoint: Endpoint) -> None:
    """A refresh for which a worker reads."""
    endpoint.read_all()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, REFRESH)
        endpoint.await_message()
        endpoint.read(TRON, 1_000_000)
        assert asking.result().status_code == 200


def test_the_table_of_metrics_has_the_outcomes_that_the_endpoint_counts() -> None:
    assert REFRESH_OUTCOMES == OUTCOMES


def test_a_refresh_is_counted_as_fresh_and_one_just_after_it_as_cooled_down(start_endpoint: StartEndpoint) -> None:
    with start_endpoint() as endpoint:
        endpoint.read_all()
        endpoint.get("?networks=tron")
        assert refreshes(endpoint) == {}, "a plain read is none"
        refreshed(endpoint)
        assert refreshes(endpoint) == {"fresh": 1}
        endpoint.get(REFRESH)
        assert refreshes(endpoint) == {"fresh": 1, "cooled_down": 1}


def test_a_refresh_that_nobody_reads_for_is_counted_as_late(start_endpoint: StartEndpoint) -> None:
    with start_endpoint(REFRESH_DEADLINE="0.3") as endpoint:
        endpoint.read_all()
        endpoint.get(REFRESH)
        assert refreshes(endpoint) == {"late": 1}


def test_a_refresh_beyond_the_days_bound_is_counted_as_limited(start_endpoint: StartEndpoint) -> None:
    with start_endpoint(REFRESH_COOLDOWN="0.001", REFRESH_MAX_PER_USER="1") as endpoint:
        refreshed(endpoint)
        endpoint.read_all()
        endpoint.get(REFRESH)
        assert refreshes(endpoint) == {"fresh": 1, "limited": 1}


def test_the_endpoint_serves_every_family_of_its_table(endpoint: Endpoint) -> None:
    endpoint.get()
    served = {family.name: family for family in text_string_to_metric_families(endpoint.get(path="/metrics").text)}
    for metric in ENDPOINT_METRICS:
        family = served[f"{PREFIX}{metric.name}".removesuffix("_total")]
        assert family.type == metric.kind
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
