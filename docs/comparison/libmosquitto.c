/* libmosquitto, with mosquitto_loop_start, as its documentation shows it. See compare.py. */
#include <dirent.h>
#include <mosquitto.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile int n_connected, n_subscribed, n_published, is_handling, is_lost;
static volatile double began;
static int busy = 0;
static int port;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int threads(void) {
    int n = 0;
    DIR *tasks = opendir("/proc/self/task");
    while (readdir(tasks)) n++;
    closedir(tasks);
    return n - 2;
}

static void on_connect(struct mosquitto *client, void *topic, int code) {
    if (code == 0) __sync_fetch_and_add(&n_connected, 1);
    if (topic) mosquitto_subscribe(client, NULL, topic, 1);
}

static void on_subscribe(struct mosquitto *client, void *topic, int id, int n, const int *qos) {
    (void)client, (void)topic, (void)id, (void)n, (void)qos;
    __sync_fetch_and_add(&n_subscribed, 1);
}

static void on_disconnect(struct mosquitto *client, void *topic, int code) {
    (void)client;
    if (topic && strcmp(topic, "a") == 0 && code != 0) {
        is_lost = 1;
        printf("lost: %s\n", mosquitto_strerror(code));
    }
}

static void on_publish(struct mosquitto *client, void *topic, int id) {
    (void)client, (void)topic, (void)id;
    __sync_fetch_and_add(&n_published, 1);
}

static void on_message(struct mosquitto *client, void *topic, const struct mosquitto_message *message) {
    (void)client, (void)message;
    if (strcmp(topic, "b") == 0) {
        printf("the other client's message came %.1f s after the slow one began\n", now() - began);
        return;
    }
    began = now();
    is_handling = 1;
    sleep(busy);
}

static struct mosquitto *started(const char *name, char *topic, int keep_alive, int *code) {
    struct mosquitto *client = mosquitto_new(name, true, topic);
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_disconnect_callback_set(client, on_disconnect);
    mosquitto_subscribe_callback_set(client, on_subscribe);
    mosquitto_publish_callback_set(client, on_publish);
    mosquitto_message_callback_set(client, on_message);
    *code = mosquitto_connect(client, "127.0.0.1", port, keep_alive);
    if (*code == 0) *code = mosquitto_loop_start(client);
    return client;
}

int main(int argc, char **argv) {
    const char *scene = argc > 2 ? argv[1] : "";
    int code;
    port = argc > 2 ? atoi(argv[2]) : 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    mosquitto_lib_init();
    if (strcmp(scene, "clients") == 0) {
        int n = 0, without_error = 0, first_error = 0;
        for (; n < 1000; n++) {
            char name[16];
            snprintf(name, sizeof name, "c%d", n);
            started(name, NULL, 600, &code);
            if (code == 0) without_error++;
            else if (!first_error) first_error = code, printf("client %d: %s\n", n, mosquitto_strerror(code));
        }
        sleep(10);
        printf("1000 asked for, %d without an error, %d with a CONNACK, %d threads\n", without_error, n_connected, threads());
    } else if (strcmp(scene, "away") == 0) {
        started("a", NULL, 5, &code);
        while (!n_connected) usleep(1000);
        printf("ready\n");
        sleep(20);
        printf("after 20 s: %d threads, main thread included\n", threads());
    } else if (strcmp(scene, "queue") == 0) {
        char line[16];
        struct mosquitto *client = started("a", NULL, 5, &code);
        while (!n_connected) usleep(1000);
        printf("ready\n");
        if (!fgets(line, sizeof line, stdin)) return 1;
        for (int n = 0; n < 5; n++) {
            char topic[] = "queued/0", *text = topic + 7;
            *text += n;
            printf("publish returned: %s\n", mosquitto_strerror(mosquitto_publish(client, NULL, topic, 1, text, 1, true)));
        }
        sleep(12);
        printf("on_publish was called %d times\n", n_published);
    } else if (strcmp(scene, "slow") == 0) {
        busy = 12;
        started("a", "a", 5, &code);
        started("b", "b", 5, &code);
        while (n_subscribed < 2) usleep(1000);
        printf("ready\n");
        sleep(16);
        printf("the slow client lost its connection: %s\n", is_lost ? "yes" : "no");
    } else if (strcmp(scene, "stop") == 0) {
        busy = 8;
        struct mosquitto *client = started("a", "a", 60, &code);
        while (!n_subscribed) usleep(1000);
        printf("ready\n");
        while (!is_handling) usleep(1000);
        double begin = now();
        mosquitto_disconnect(client);
        code = mosquitto_loop_stop(client, false);
        printf("stop returned after %.1f s, of a handler busy for 8 s: %s\n", now() - begin, mosquitto_strerror(code));
    }
    return 0;
}
