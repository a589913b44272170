"""Processes that train one network together know of each other's end: when one stops, all stop, and say why."""

import os
import socket
import sys
import threading
from collections.abc import Callable

_DONE = b"done"
_LOST = "has ended, or cannot be reached"


class Watch:
    """A connection between process 0 and each other process that lasts as long as both work.

    Process 0 hears of the end of any other, and tells the rest. A process that is killed closes its connection by
    that; a machine that vanishes is missed after half a minute.

    Args:
        processes: int, how many there are.
        index: int, which one this is.
        meet: makes a number of process 0 known to all: from that number (any in the others) to process 0's. Every
            process calls it at the same time.
        host: the name or address of the machine of process 0, as the others reach it.
        stop: called, in a thread of its own, with the text that says which process stopped and why.
    """

    def __init__(self, processes: int, index: int, meet: Callable[[int], int], host: str, stop: Callable[[str], None]):
        self._processes = processes
        self._index = index
        self._stop = stop
        self._leaving = False
        self._peers: dict[int, socket.socket] = {}
        self._done: dict[int, threading.Event] = {}
        self._listeners: list[threading.Thread] = []
        if index:
            self._hear(0, _keep_alive(socket.create_connection((host, meet(0)), timeout=60)))
            self._peers[0].sendall(index.to_bytes(4))
            return
        with socket.create_server(("", 0), backlog=processes) as server:
            server.settimeout(60)
            meet(server.getsockname()[1])
            for _ in range(processes - 1):
                connection = _keep_alive(server.accept()[0])
                self._hear(int.from_bytes(connection.recv(4, socket.MSG_WAITALL)), connection)

    def fail(self, why: str) -> None:
        """Say to the others that this process cannot go on, and why."""
        self._leaving = True
        for connection in self._peers.values():
            self._tell(connection, f"process {self._index} stopped: {why}".encode())

    def end(self, leave: Callable[[], None]) -> None:
        """This process has done its part: wait until all have, and leave. Process 0, whom all know, leaves last.

        Args:
            leave: what is to be done before process 0 leaves.
        """
        for connection in self._peers.values():
            connection.sendall(_DONE)
        for done in self._done.values():
            done.wait()
        self._leaving = True
        if self._index:
            leave()
            self._peers[0].shutdown(socket.SHUT_RDWR)
            return
        for listener in self._listeners:
            listener.join()
        leave()

    def _hear(self, peer: int, connection: socket.socket):
        self._peers[peer] = connection
        self._done[peer] = threading.Event()
        self._listeners.append(threading.Thread(target=self._listen, args=(peer, connection), daemon=True))
        self._listeners[-1].start()

    def _listen(self, peer: int, connection: socket.socket):
        said = b""
        try:
            while part := connection.recv(4096):
                said = (said + part).removeprefix(_DONE)
                if not said:
                    self._done[peer].set()
        except OSError:  # the same as an end without a word
            pass
        if self._leaving or (self._done[peer].is_set() and not said and peer):
            return
        why = said.decode(errors="replace") or f"process {peer} {_LOST}"
        for other, of_other in self._peers.items():
            if other != peer:
                self._tell(of_other, why.encode())
        self._stop(f"Stopped, as {why}. Start all {self._processes} processes again with --resume.")

    def _tell(self, connection: socket.socket, said: bytes):
        try:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # it has gone, too
            pass


def end_process(message: str) -> None:
    """Print a message and end this process, from whatever thread: the others of it may wait for ever."""
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    os._exit(1)


def _keep_alive(connection: socket.socket) -> socket.socket:
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):  # Linux's names
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return connection
