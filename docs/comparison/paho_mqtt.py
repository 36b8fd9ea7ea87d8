"""paho-mqtt for Python, with `loop_start`, as its README shows it. See compare.py."""

import sys
import threading
import time

import paho.mqtt.client as mqtt

SCENE, PORT = sys.argv[1], int(sys.argv[2])


def say(text):
    sys.stdout.write(text + "\n")  # in one piece
    sys.stdout.flush()


def connected(name, on_message=None, topic=None, keep_alive=5):
    is_connected = threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name)

    def on_connect(client, userdata, flags, reason, properties):
        if topic:
            client.subscribe(topic, 1)
        else:
            is_connected.set()

    client.on_connect = on_connect
    client.on_subscribe = lambda *_: is_connected.set()
    client.on_message = on_message
    client.connect("127.0.0.1", PORT, keep_alive)
    client.loop_start()
    is_connected.wait(10)
    return client


def clients():
    count, lock, made = 0, threading.Lock(), []

    def on_connect(client, userdata, flags, reason, properties):
        nonlocal count
        with lock:
            count += 1

    for i in range(1000):
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"c{i}")
        client.on_connect = on_connect
        try:
            client.connect("127.0.0.1", PORT, keepalive=600)
            client.loop_start()
        except Exception as error:
            say(f"client {i}: {error!r}")
            break
        made.append(client)
    time.sleep(10)
    say(f"1000 asked for, {len(made)} without an error, {count} with a CONNACK, {threading.active_count()} threads")


def away():
    client = connected("a")
    say("ready")
    time.sleep(20)
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    say(f"after 20 s: {len(threads)} thread runs, is_connected() is {client.is_connected()}")


def queue():
    client = connected("a")
    say("ready")
    sys.stdin.readline()
    results = [client.publish(f"queued/{n}", str(n), 1, retain=True) for n in range(5)]
    say("publish returned " + ", ".join(str(int(result.rc)) for result in results))
    time.sleep(12)
    for result in results:
        try:
            say(f"is_published() is {result.is_published()}")
        except RuntimeError as error:
            say(f"is_published() raised {error!r}")


def slow():
    lost = threading.Event()
    began = None

    def on_a(client, userdata, message):
        nonlocal began
        began = time.monotonic()
        time.sleep(12)

    def on_b(client, userdata, message):
        say(f"the other client's message came {time.monotonic() - began:.1f} s after the slow one began")

    a = connected("a", on_a, "a")
    a.on_disconnect = lambda client, userdata, flags, reason, properties: (say(f"lost: {reason}"), lost.set())
    connected("b", on_b, "b")
    say("ready")
    say(f"the slow client lost its connection: {lost.wait(16)}")


def stop():
    handling = threading.Event()

    def on_message(client, userdata, message):
        handling.set()
        time.sleep(8)

    client = connected("a", on_message, "a", 60)
    say("ready")
    handling.wait()
    begin = time.monotonic()
    client.disconnect()
    client.loop_stop()
    say(f"stop returned after {time.monotonic() - begin:.1f} s, of a handler busy for 8 s")


def failing():
    def on_message(client, userdata, message):
        say(f"message {message.payload.decode()}")
        if message.payload == b"1":
            raise ValueError("bad payload")

    threading.excepthook = lambda arguments: say(f"thread ended by {arguments.exc_value!r}")
    client = connected("a", on_message, "a")
    say("ready")
    time.sleep(3)
    say(f"{threading.active_count() - 1} network threads, is_connected() is {client.is_connected()}")


globals()[SCENE]()
