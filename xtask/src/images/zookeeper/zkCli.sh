#!/bin/sh
# ZooKeeper's own client: `zkCli.sh -server HOST:PORT COMMAND...`
set -e

# JVMFLAGS and CLIENT_JVMFLAGS are lists of options.
# shellcheck disable=SC2086
exec zkJava.sh -Dorg.slf4j.simpleLogger.defaultLogLevel=warn ${JVMFLAGS:-} ${CLIENT_JVMFLAGS:-} \
    org.apache.zookeeper.ZooKeeperMain "$@"
