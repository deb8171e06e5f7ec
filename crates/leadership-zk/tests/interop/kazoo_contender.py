"""Stands in an election of kazoo, as an application does: kazoo_contender.py SERVER PATH IDENTIFIER

Prints "leading" when it leads, and "leader IDENTIFIER" whenever it sees another leader. Leaves when it is interrupted.
"""

import signal
import sys
import threading

from kazoo.client import KazooClient

SESSION_S = 4.0
LOOK_S = 0.05


def say(line):
    # In one piece: two threads print.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def look(election, left):
    seen = ""
    while not left.wait(LOOK_S):
        leader = next(iter(election.contenders()), "")
        if leader != seen:
            say("leader " + leader)
            seen = leader


def main(server, path, identifier):
    # A thread waits for the signal instead of a handler, which could not take the locks that leaving takes. Masks are
    # inherited, so this comes before any thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    client = KazooClient(hosts=server, timeout=SESSION_S)
    client.start()
    election = client.Election(path, identifier)
    left = threading.Event()

    def leave():
        signal.sigwait({signal.SIGTERM})
        left.set()
        election.cancel()

    def lead():
        say("leading")
        left.wait()

    threading.Thread(target=leave, daemon=True).start()
    looker = threading.Thread(target=look, args=(election, left), daemon=True)
    looker.start()
    election.run(lead)
    looker.join()
    client.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
