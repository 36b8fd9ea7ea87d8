/* libmosquitto with a thread for each client (mosquitto_loop_start); the callback counts. */
#include <mosquitto.h>

#include "peer.h"

/* What was published and is not done yet: as much as rumqttc's channel takes. Without a bound the
 * library's queue would only grow. Who waits for room waits until half of it is free, so that not
 * every message costs a switch of threads. */
#define QUEUE 1000

static struct mosquitto *clients[MOST_CLIENTS];
static struct {
    pthread_mutex_t lock;
    pthread_cond_t free;
    int outstanding, waiting;
} rooms[MOST_CLIENTS];

/* A client's number; its data is one more, for no data means the library's own. */
static int number(const void *data)
{
    return (int)(intptr_t)data - 1;
}

static void on_connect(struct mosquitto *client, void *data, int code)
{
    if (code)
        fail("refused", code);
    mosquitto_subscribe(client, NULL, topics[number(data)], job.qos);
}

static void on_subscribe(struct mosquitto *client, void *data, int id, int count, const int *granted)
{
    (void)client, (void)data, (void)id, (void)count, (void)granted;
    subscribed();
}

static void on_message(struct mosquitto *client, void *data, const struct mosquitto_message *message)
{
    (void)client, (void)data;
    received(message->payload, message->payloadlen);
}

static void on_publish(struct mosquitto *client, void *data, int id)
{
    (void)client, (void)id;
    int i = number(data);
    int left = __atomic_sub_fetch(&rooms[i].outstanding, 1, __ATOMIC_SEQ_CST);
    if (left <= QUEUE / 2 && __atomic_load_n(&rooms[i].waiting, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&rooms[i].lock);
        pthread_cond_signal(&rooms[i].free);
        pthread_mutex_unlock(&rooms[i].lock);
    }
}

static void client_start(int i)
{
    char id[16];
    snprintf(id, sizeof id, "c%d", i);
    struct mosquitto *client = mosquitto_new(id, true, (void *)(intptr_t)(i + 1));
    clients[i] = client;
    pthread_mutex_init(&rooms[i].lock, NULL);
    pthread_cond_init(&rooms[i].free, NULL);
    mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_max_inflight_messages_set(client, (unsigned)job.window);
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_subscribe_callback_set(client, on_subscribe);
    mosquitto_message_callback_set(client, on_message);
    mosquitto_publish_callback_set(client, on_publish);
    int code = mosquitto_connect(client, "127.0.0.1", job.port, KEEP_ALIVE);
    if (code)
        fail("no connection", code);
    code = mosquitto_loop_start(client);
    if (code)
        fail("no thread", code);
}

static int client_publish(int i, const char *topic, const void *payload, int length)
{
    if (__atomic_add_fetch(&rooms[i].outstanding, 1, __ATOMIC_SEQ_CST) > QUEUE) {
        pthread_mutex_lock(&rooms[i].lock);
        __atomic_store_n(&rooms[i].waiting, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&rooms[i].outstanding, __ATOMIC_SEQ_CST) > QUEUE / 2)
            pthread_cond_wait(&rooms[i].free, &rooms[i].lock);
        __atomic_store_n(&rooms[i].waiting, 0, __ATOMIC_SEQ_CST);
        pthread_mutex_unlock(&rooms[i].lock);
    }
    if (!mosquitto_publish(clients[i], NULL, topic, length, payload, job.qos, false))
        return 1;
    __atomic_sub_fetch(&rooms[i].outstanding, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void client_stop(int i)
{
    mosquitto_disconnect(clients[i]);
    mosquitto_loop_stop(clients[i], false);
    mosquitto_destroy(clients[i]);
}

int main(int count, char **arguments)
{
    mosquitto_lib_init();
    return run(count, arguments);
}
