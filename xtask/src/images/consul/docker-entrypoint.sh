#!/bin/sh
# Takes what the entry point of the official image takes: `agent` with its options, any other command of consul, or a
# program; for the agent, more configuration in CONSUL_LOCAL_CONFIG.
set -e

data=${CONSUL_DATA_DIR:-/consul/data}
config=${CONSUL_CONFIG_DIR:-/consul/config}

case "${1:-}" in
agent)
    shift
    mkdir -p "$data" "$config"
    if [ -n "${CONSUL_LOCAL_CONFIG:-}" ]; then
        printf '%s\n' "$CONSUL_LOCAL_CONFIG" >"$config/local.json"
    fi
    exec consul agent -data-dir="$data" -config-dir="$config" "$@"
    ;;
-*)
    exec consul "$@"
    ;;
*)
    if consul --help "${1:-}" 2>&1 | grep -q "consul ${1:-}"; then
        exec consul "$@"
    fi
    exec "$@"
    ;;
esac
