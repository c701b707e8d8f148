"""What a balance is of, in SQL: what every statement has to say alike. Imports nothing: the endpoint uses it too.

A *source* is a token on a chain. A network's balances are read from one source at a time; those of another, which it
had before, are as if they had never been read: not shown, and blocks are not compared with theirs.
"""

OF_SOURCE = "coalesce(b.source, n.first_source) IS NOT DISTINCT FROM n.source"
"""Whether a row `b` of balance_cache is of the source that its network, a row `n` of networks, is read from.

Rows of before there were sources have none: they are of the first that their network had. Until a worker has registered
one, neither the network nor its rows have any, and all is as it was.
"""
