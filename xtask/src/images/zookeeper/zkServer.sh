#!/bin/sh
# The server in the foreground, which is all that a container asks of this command.
set -e

if [ "${1:-}" != start-foreground ]; then
    echo "usage: zkServer.sh start-foreground" >&2
    exit 2
fi
# JVMFLAGS and SERVER_JVMFLAGS are lists of options.
# shellcheck disable=SC2086
exec zkJava.sh ${JVMFLAGS:-} ${SERVER_JVMFLAGS:-} \
    org.apache.zookeeper.server.quorum.QuorumPeerMain "$ZOO_CONF_DIR/zoo.cfg"
