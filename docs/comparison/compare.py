#!/usr/bin/env python3
"""Asks the same of several MQTT clients, on a mosquitto of its own, and prints what they did.

    python3 compare.py NAME=COMMAND...

Each COMMAND is run as `COMMAND SCENE PORT` and says `ready` when its part may begin; what it prints
otherwise is passed on. README.md has the commands, and what was seen.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

SCENES = ["clients", "away", "queue", "slow", "stop", "failing"]
MOSQUITTO = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin") or "mosquitto"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Broker:
    def __init__(self, port, directory):
        self.port = port
        self.config = os.path.join(directory, "mosquitto.conf")
        with open(self.config, "w") as file:
            file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        self.start()

    def start(self):
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen([MOSQUITTO, "-c", self.config], stdout=quiet, stderr=quiet)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def publish(self, topic, text):
        command = ["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", topic, "-m", text]
        subprocess.run(command, check=True)


def count_connects(port, seconds):
    """Takes the place of the broker: closes each connection, and counts them."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1000)
    end, count = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        listener.settimeout(left)
        try:
            listener.accept()[0].close()
            count += 1
        except TimeoutError:
            break
    listener.close()
    return count


def play(name, command, scene, port, broker):
    process = subprocess.Popen(
        shlex.split(command) + [scene, str(port)], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    is_ready = threading.Event()

    def listen():
        for line in process.stdout:
            if line.strip() == "ready":
                is_ready.set()
            else:
                print(f"  {name}: {line.rstrip()}", flush=True)
        is_ready.set()

    listener = threading.Thread(target=listen)
    listener.start()
    is_ready.wait(60)
    if process.poll() is None:
        if scene == "away":
            broker.kill()
            print(f"  {name}: {count_connects(port, 20)} connects in 20 s", flush=True)
            broker.start()
        elif scene == "queue":
            broker.kill()
            time.sleep(1)
            process.stdin.write("away\n")
            process.stdin.flush()
            time.sleep(3)
            broker.start()
            # They are retained, each under a topic of its own: it does not matter who is back first.
            subscriber = subprocess.Popen(
                ["mosquitto_sub", "-p", str(port), "-q", "1", "-t", "queued/#", "-W", "15"],
                text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )
            arrived = sorted(set(subscriber.communicate()[0].split()))
            print(f"  {name}: arrived: {' '.join(arrived) or 'nothing'}", flush=True)
        elif scene in ("slow", "stop", "failing"):
            broker.publish("a", "1")
            if scene == "slow":
                time.sleep(0.5)
                broker.publish("b", "1")
            if scene == "failing":
                time.sleep(0.5)
                broker.publish("a", "2")
    try:
        code = process.wait(400)
    except subprocess.TimeoutExpired:
        process.kill()
        code = "killed after 400 s"
    listener.join()
    if code != 0:
        print(f"  {name}: ended with {code}", flush=True)


def main():
    subjects = [argument.split("=", 1) for argument in sys.argv[1:]]
    scenes = os.environ.get("SCENES", " ".join(SCENES)).split()
    for scene in scenes:
        print(scene, flush=True)
        for name, command in subjects:
            with tempfile.TemporaryDirectory() as directory:
                port = free_port()
                broker = Broker(port, directory)
                try:
                    play(name, command, scene, port, broker)
                finally:
                    broker.kill()


main()
