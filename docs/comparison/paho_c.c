/* Paho C, MQTTClient (the synchronous API) with callbacks, as its documentation shows it. See compare.py. */
#include <MQTTClient.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile int is_handling, is_lost;
static volatile double began;
static int busy = 0;
static char url[64];

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

static void lost(void *name, char *cause) {
    if (strcmp(name, "b") != 0) is_lost = 1;
    printf("%s is lost: %s\n", (char *)name, cause ? cause : "no cause given");
}

static int arrived(void *name, char *topic, int length, MQTTClient_message *message) {
    (void)length;
    if (strcmp(name, "b") == 0) {
        printf("the other client's message came %.1f s after the slow one began\n", now() - began);
    } else {
        began = now();
        is_handling = 1;
        sleep(busy);
    }
    MQTTClient_freeMessage(&message);
    MQTTClient_free(topic);
    return 1;
}

static MQTTClient started(char *name, const char *topic, int keep_alive, int *code) {
    MQTTClient client;
    MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer;
    options.keepAliveInterval = keep_alive;
    options.cleansession = 1;
    MQTTClient_create(&client, url, name, MQTTCLIENT_PERSISTENCE_NONE, NULL);
    MQTTClient_setCallbacks(client, name, lost, arrived, NULL);
    *code = MQTTClient_connect(client, &options);
    if (*code == 0 && topic) *code = MQTTClient_subscribe(client, topic, 1);
    return client;
}

int main(int argc, char **argv) {
    const char *scene = argc > 2 ? argv[1] : "";
    int code;
    snprintf(url, sizeof url, "tcp://127.0.0.1:%s", argc > 2 ? argv[2] : "0");
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(scene, "clients") == 0) {
        int connected = 0, first_error = 0;
        for (int n = 0; n < 1000; n++) {
            char name[16];
            snprintf(name, sizeof name, "c%d", n);
            double begin = now();
            started(strdup(name), NULL, 600, &code);
            if (code == 0) connected++;
            else if (!first_error) first_error = code, printf("client %d: code %d after %.0f s\n", n, code, now() - begin);
            if (n - connected > 1) break;
        }
        printf("1000 asked for, %d connected, %d threads\n", connected, threads());
    } else if (strcmp(scene, "away") == 0) {
        MQTTClient client = started("a", NULL, 5, &code);
        printf("ready\n");
        sleep(20);
        printf("after 20 s: isConnected is %d\n", MQTTClient_isConnected(client));
    } else if (strcmp(scene, "queue") == 0) {
        char line[16];
        MQTTClient_deliveryToken token;
        MQTTClient client = started("a", NULL, 5, &code);
        printf("ready\n");
        if (!fgets(line, sizeof line, stdin)) return 1;
        for (int n = 0; n < 5; n++) {
            char topic[] = "queued/0", *text = topic + 7;
            *text += n;
            printf("publish returned %d\n", MQTTClient_publish(client, topic, 1, text, 1, 1, &token));
        }
        sleep(12);
    } else if (strcmp(scene, "slow") == 0) {
        busy = 12;
        started("a", "a", 5, &code);
        started("b", "b", 5, &code);
        printf("ready\n");
        sleep(16);
        printf("the slow client lost its connection: %s\n", is_lost ? "yes" : "no");
    } else if (strcmp(scene, "stop") == 0) {
        busy = 8;
        MQTTClient client = started("a", "a", 60, &code);
        printf("ready\n");
        while (!is_handling) usleep(1000);
        double begin = now();
        code = MQTTClient_disconnect(client, 1000);
        printf("disconnect(1000 ms) returned after %.1f s, of a handler busy for 8 s: code %d\n", now() - begin, code);
        MQTTClient_destroy(&client);
        printf("destroy returned after %.1f s\n", now() - begin);
    }
    return 0;
}
