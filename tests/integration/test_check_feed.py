"""``celery -A worker check`` of following blocks, at a real EVM node and at the façade of a Tron node."""

from checking import Look, failed


def test_each_endpoint_is_said_to_be_followed_and_how(look: Look) -> None:
    found = look(FEED="on")
    assert failed(found) == []
    said = [(each.subject.partition(" ")[0], each.detail) for each in found if "follow" in each.detail]
    assert [(network, detail.partition(";")[0]) for network, detail in said] == [
        ("ethereum", "follows blocks by the token's logs and those of native coin"),
        ("tron", "follows blocks by the infos of a block's transactions"),
    ]


def test_with_the_feed_off_nothing_is_said_of_blocks(look: Look) -> None:
    assert not any("follow" in each.detail for each in look())
