"""paho-mqtt in the shape of demo2: a client with a thread of its own (loop_start) for each
connection, callbacks that count, and the commands of benches/fleet/subject/mod.rs."""

import queue
import struct
import sys
import threading
import time

import paho.mqtt.client as mqtt

KEEP_ALIVE = 60
MOST_PUBLISHERS = 10
# What was published and is not done yet: as much as rumqttc's channel takes.
ROOM = 1000


def read_job():
    job = {"clients": "1", "qos": "0", "window": "100", "payload": "64", "kind": "receive"}
    job.update(argument.split("=", 1) for argument in sys.argv[1:])
    return {name: int(value) if value.isdigit() else value for name, value in job.items()}


JOB = read_job()
ECHOES = queue.Queue()


class Client:
    def __init__(self, number):
        self.number = number
        self.topic = f"bench/{number:04}"
        self.next = self.count = self.errors = 0
        self.subscribed = threading.Event()
        self.room = threading.Semaphore(ROOM)
        identity = f"c{number}"
        if hasattr(mqtt, "CallbackAPIVersion"):
            self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION1, identity)
        else:
            self.client = mqtt.Client(identity)
        self.client.max_inflight_messages_set(JOB["window"])
        self.client.on_connect = lambda client, *_: client.subscribe(self.topic, JOB["qos"])
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self.on_message
        self.client.on_publish = lambda *_: self.room.release()

    def connect(self):
        self.client.connect("127.0.0.1", JOB["port"], KEEP_ALIVE)
        self.client.loop_start()

    def on_message(self, _client, _data, message):
        (sequence,) = struct.unpack_from("<Q", message.payload)
        if JOB["kind"] == "echo":
            ECHOES.put(sequence)
            return
        if sequence != self.next:
            self.errors += 1
        self.next = sequence + 1
        self.count += 1

    def publish(self, payload):
        self.room.acquire()
        self.client.publish(self.topic, payload, JOB["qos"])

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()


def payload(number, sequence):
    head = struct.pack("<QQI", sequence, 0, number)
    return head + b"." * (JOB["payload"] - len(head))


class Publisher(threading.Thread):
    def __init__(self, clients):
        super().__init__()
        self.clients = clients
        self.taken = 0
        self.halted = False

    def run(self):
        sequence = 0
        while not self.halted:
            for client in self.clients:
                client.publish(payload(client.number, sequence))
                self.taken += 1
            sequence += 1


def echo(clients, milliseconds, state=[0]):
    times = []
    end = time.monotonic() + milliseconds / 1000
    while time.monotonic() < end:
        start = time.monotonic_ns()
        clients[0].publish(payload(0, state[0]))
        if ECHOES.get(timeout=10) != state[0]:
            raise RuntimeError("another echo than expected")
        times.append(time.monotonic_ns() - start)
        state[0] += 1
    times.sort()
    quantiles = [times[int(len(times) * share)] for share in (0.5, 0.99, 0.999)]
    return " ".join(map(str, [len(times), *quantiles]))


def say(line):
    print(line, flush=True)


def main():
    clients = []
    publishers = []
    say("started")
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "connect":
            clients = [Client(number) for number in range(JOB["clients"])]
            for client in clients:
                client.connect()
            for client in clients:
                if not client.subscribed.wait(30):
                    sys.exit("not all clients were subscribed")
            say("ready")
        elif command == "counts":
            say(f"{sum(c.count for c in clients)} {sum(c.errors for c in clients)}")
        elif command == "go":
            step = min(len(clients), MOST_PUBLISHERS)
            publishers = [Publisher(clients[first::step]) for first in range(step)]
            for publisher in publishers:
                publisher.start()
            say("ok")
        elif command == "halt":
            for publisher in publishers:
                publisher.halted = True
            for publisher in publishers:
                publisher.join()
            say(sum(publisher.taken for publisher in publishers))
        elif command == "echo":
            say(echo(clients, int(rest[0])))
        elif command == "quit":
            start = time.monotonic()
            for client in clients:
                client.stop()
            say(int((time.monotonic() - start) * 1e6))
            return
        else:
            sys.exit(f"unknown command {command}")


main()
