/* Paho C, the synchronous MQTTClient with callbacks: one thread reads for all clients. */
#include <MQTTClient.h>
#include <semaphore.h>

#include "peer.h"

static MQTTClient clients[MOST_CLIENTS];
static sem_t room[MOST_CLIENTS];

static int on_message(void *data, char *topic, int topic_length, MQTTClient_message *message)
{
    (void)data, (void)topic_length;
    received(message->payload, message->payloadlen);
    MQTTClient_freeMessage(&message);
    MQTTClient_free(topic);
    return 1;
}

static void on_delivered(void *data, MQTTClient_deliveryToken token)
{
    (void)token;
    sem_post(&room[(intptr_t)data]);
}

static void client_start(int i)
{
    char id[16], url[64];
    snprintf(id, sizeof id, "c%d", i);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", job.port);
    int code = MQTTClient_create(&clients[i], url, id, MQTTCLIENT_PERSISTENCE_NONE, NULL);
    if (code)
        fail("no client", code);
    MQTTClient_setCallbacks(clients[i], (void *)(intptr_t)i, NULL, on_message, on_delivered);
    sem_init(&room[i], 0, (unsigned)job.window);
    MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer;
    options.keepAliveInterval = KEEP_ALIVE;
    options.cleansession = 1;
    options.reliable = 0;
    options.maxInflightMessages = job.window;
    code = MQTTClient_connect(clients[i], &options);
    if (code)
        fail("no connection", code);
    code = MQTTClient_subscribe(clients[i], topics[i], job.qos);
    if (code)
        fail("not subscribed", code);
    subscribed();
}

static int client_publish(int i, const char *topic, const void *payload, int length)
{
    if (job.qos)
        sem_wait(&room[i]);
    if (!MQTTClient_publish(clients[i], topic, length, payload, job.qos, 0, NULL))
        return 1;
    if (job.qos)
        sem_post(&room[i]);
    return 0;
}

static void client_stop(int i)
{
    MQTTClient_disconnect(clients[i], 1000);
    MQTTClient_destroy(&clients[i]);
}

int main(int count, char **arguments)
{
    return run(count, arguments);
}
