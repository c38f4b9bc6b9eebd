"""Which code of ours answers for a function of the vectors, and where we answer otherwise on purpose.

An adapter renames fields and calls; it decides nothing. See `test_vectors.py`.
"""

from jupyter_rmx.loopback import alias


def _parse_alias_host(given):
    found = alias.parse_alias_host(given["host"], given["alias_domain"], given["layout"])
    return None if found is None else {"port": found.port, "machine": found.machine, "sub": found.sub}


def _is_loopback_host(given):
    return alias.is_loopback_host(alias.normalize_host(given["host"]))


def _normalize_host(given):
    return alias.normalize_host(given["host"])


def _loopback_url_to_alias(given):
    return alias.loopback_url_to_alias(
        given["url"],
        given["machine"],
        front_port=given["front_port"],
        alias_domain=given["alias_domain"],
        layout=given["layout"],
    )


def _alias_url_to_loopback(given):
    return alias.alias_url_to_loopback(
        given["url"],
        front_port=given["front_port"],
        alias_domain=given["alias_domain"],
        layout=given["layout"],
    )


BINDINGS = {
    "alias_url_to_loopback": _alias_url_to_loopback,
    "is_loopback_host": _is_loopback_host,
    "loopback_url_to_alias": _loopback_url_to_alias,
    "normalize_host": _normalize_host,
    "parse_alias_host": _parse_alias_host,
}

# (function, predicate over its input, our answer, why)
DIFFERENCES = [
    (
        "is_loopback_host",
        lambda given: given["host"] in {"::", "0:0:0:0:0:0:0:1"},
        True,
        "the unspecified address and the long form of ::1 lead to this computer as well",
    ),
]
