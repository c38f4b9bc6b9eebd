"""Which code of ours answers for a function of the vectors, and where we answer otherwise on purpose.

An adapter renames fields and calls; it decides nothing. See `test_vectors.py`.
"""

from dataclasses import asdict
from datetime import datetime, timezone

from jupyter_rmx.errors import UsageError
from jupyter_rmx.loopback import alias
from jupyter_rmx.models import SSHTarget, WebSocketEndpoint
from jupyter_rmx.planner.quoting import escape_for_terminal
from jupyter_rmx.ssh import config, detect, jump, key, options, quoting, resolved, target
from jupyter_rmx.transports import error_line, retry


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


def _parse_ssh_argv(given):
    found = detect.parse_ssh_argv(given["argv"])
    if found is None:
        return None
    there = asdict(found.target) | {"ssh_options": list(found.options), "control_path": found.control_path}
    del there["options"]
    first, *_ = *there.pop("identity_files"), None
    return there | {"identity_file": first}


def _parse_target(given):
    try:
        return target.parse_target(given["text"]).to_wire()
    except UsageError as error:
        return error.code


def _slug(given):
    return target.slug(target.parse_target(given["text"]))


def _detect_for_tty(given):
    processes = [detect.TerminalProcess(**process) for process in given["processes"]]
    argv = {int(pid): words for pid, words in given["argv_by_pid"].items()}
    found = detect.detect_for_tty(given["tty"], processes, argv)
    return None if found is None else found.destination


def _transport_key(fields):
    """The fields of a reference workspace by our names; those that we do not have are left out."""
    way = fields.get("ws")
    return key.transport_key(
        SSHTarget(
            destination=fields.get("destination", "host"),
            port=fields.get("port"),
            identity_files=tuple(filter(None, [fields.get("identity_file")])),
            options=tuple(fields.get("ssh_options", ())),
        ),
        home="/home/u",
        transport=fields.get("transport", "ssh"),
        baked=fields.get("skip_bootstrap", False),
        websocket=way and _websocket(way),
        preserve=fields.get("preserve", False),
        slot=fields.get("slot"),
        apart=[fields.get("local_proxy_port") or 0],
    )


def _websocket(way):
    return WebSocketEndpoint(
        url=way["url"],
        token=way.get("token", ""),
        session_id=way["session_id"],
        expires_at=datetime.fromtimestamp(way["expires_at_unix"], timezone.utc),
        headers=way.get("headers", {}),
    )


def _same_transport_key(given):
    if "base" in given:
        one, other = given["base"], given["base"] | given["change"]
    else:  # two values of one field, which their shape names
        field = {list: "ssh_options", dict: "ws"}[type(given["a"])]
        one, other = {field: given["a"]}, {field: given["b"]}
    return _transport_key(one) == _transport_key(other)


def _parse_ssh_g(given):
    if "output" in given:
        found = resolved.parse_ssh_G(given["output"])
    else:
        there = SSHTarget(destination="host", options=tuple(given["ssh_options"]))
        found = config.evaluate([], there, config.Here(user="me", home="/home/me"))
    if found.tcp_probe is None:
        return None
    return {
        "hostname": found.hostname,
        "port": found.port,
        "proxyjump": found.proxy_jump,
        "proxycommand": found.proxy_command,
    }


def _parse_jump_spec(given):
    hop = jump.parse_jump_spec(given["spec"])
    return None if hop is None else {"destination": str(hop), "host": hop.host, "port": hop.port}


def _durable_options(given):
    return list(options.durable_options(given["options"]))


def _bootstrap_retry(given):
    return asdict(retry.evaluate_bootstrap_retry(**given))


def _reachability(given):
    return asdict(retry.evaluate_reachability(**given))


def _one(function, name):
    """A function of one value, by the name that the vectors give it."""
    return lambda given: function(given[name])


BINDINGS = {
    "alias_url_to_loopback": _alias_url_to_loopback,
    "best_error_line": lambda given: error_line.best_error_line(**given),
    "combine_snippets": _one(quoting.combine_snippets, "parts"),
    "detect_for_tty": _detect_for_tty,
    "durable_options": _durable_options,
    "escape_for_terminal": _one(escape_for_terminal, "value"),
    "evaluate_bootstrap_retry": _bootstrap_retry,
    "evaluate_reachability": _reachability,
    "is_interactive_ssh": _one(detect.is_interactive_ssh, "argv"),
    "is_loopback_host": _is_loopback_host,
    "local_command_option": _one(quoting.local_command_option, "script"),
    "loopback_url_to_alias": _loopback_url_to_alias,
    "normalize_host": _normalize_host,
    "normalize_identity_path": lambda given: options.normalize_identity_path(**given),
    "normalize_session_slot": _one(detect.normalize_session_slot, "slot"),
    "parse_alias_host": _parse_alias_host,
    "parse_jump_spec": _parse_jump_spec,
    "parse_ssh_G": _parse_ssh_g,
    "parse_ssh_argv": _parse_ssh_argv,
    "parse_target": _parse_target,
    "posix_shell_command": _one(quoting.posix_shell_command, "script"),
    "retry_delay_s": _one(retry.retry_delay_s, "retry"),
    "same_transport_key": _same_transport_key,
    "shell_quote": _one(quoting.shell_quote, "value"),
    "slug": _slug,
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
