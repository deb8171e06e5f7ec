#!/bin/sh
# Java with ZooKeeper and what it needs, jar by jar: the packages bring several loggers, of which there may be only
# one.
set -e

classpath=
for jar in zookeeper zookeeper-jute commons-cli commons-io jackson-annotations jackson-core jackson-databind \
    metrics-core netty-buffer netty-codec netty-common netty-handler netty-resolver netty-transport \
    netty-transport-native-epoll netty-transport-native-unix-common slf4j-api slf4j-simple snappy-java; do
    classpath="$classpath:/usr/share/java/$jar.jar"
done
exec java -cp "${classpath#:}" -Xmx128m -XX:+UseSerialGC "$@"
