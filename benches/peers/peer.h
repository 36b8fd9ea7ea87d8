/* What the peers in C have in common: the commands of benches/fleet/subject/mod.rs, the check of
 * every sequence number, the publisher threads. A peer defines the functions of "To be defined". */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEEP_ALIVE 60
#define MOST_PUBLISHERS 10
#define MOST_CLIENTS 10000

struct job {
    int port, clients, qos, window, payload;
    char kind[16];
};
static struct job job;

/* To be defined. */
static void client_start(int client);
static int client_publish(int client, const char *topic, const void *payload, int length);
static void client_stop(int client);

struct slot {
    uint64_t next, count, errors;
    char rest[40];
};
static struct slot *slots;
static char (*topics)[24];
static int subscribed_count, halted;
static pthread_mutex_t echo_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t echo_came = PTHREAD_COND_INITIALIZER;
static uint64_t echo_sequence = UINT64_MAX;

static void fail(const char *what, int code)
{
    fprintf(stderr, "%s: %d\n", what, code);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void subscribed(void)
{
    __atomic_fetch_add(&subscribed_count, 1, __ATOMIC_RELEASE);
}

/* A message came, in the thread that the library calls back in. */
static void received(const void *payload, int length)
{
    uint64_t sequence;
    uint32_t client;
    if (length < 20) {
        __atomic_fetch_add(&slots[0].errors, 1, __ATOMIC_RELAXED);
        return;
    }
    memcpy(&sequence, payload, 8);
    memcpy(&client, (const char *)payload + 16, 4);
    if (job.kind[0] == 'e') {
        pthread_mutex_lock(&echo_lock);
        echo_sequence = sequence;
        pthread_cond_signal(&echo_came);
        pthread_mutex_unlock(&echo_lock);
        return;
    }
    if (client >= (uint32_t)job.clients) {
        client = 0;
        sequence = UINT64_MAX - 1;
    }
    struct slot *slot = &slots[client];
    if (slot->next != sequence)
        __atomic_store_n(&slot->errors, slot->errors + 1, __ATOMIC_RELAXED);
    slot->next = sequence + 1;
    __atomic_store_n(&slot->count, slot->count + 1, __ATOMIC_RELAXED);
}

static char *new_payload(int client)
{
    char *payload = malloc((size_t)job.payload);
    uint32_t number = (uint32_t)client;
    memset(payload, '.', (size_t)job.payload);
    memset(payload, 0, 16);
    memcpy(payload + 16, &number, 4);
    return payload;
}

struct publisher {
    pthread_t thread;
    int first, step;
    uint64_t taken;
};
static struct publisher publishers[MOST_PUBLISHERS];

/* One message on each of its clients in turn. */
static void *publish(void *argument)
{
    struct publisher *own = argument;
    uint64_t *sequences = calloc((size_t)job.clients, sizeof *sequences);
    char **payloads = calloc((size_t)job.clients, sizeof *payloads);
    for (int i = own->first; i < job.clients; i += own->step)
        payloads[i] = new_payload(i);
    while (!__atomic_load_n(&halted, __ATOMIC_RELAXED)) {
        for (int i = own->first; i < job.clients; i += own->step) {
            memcpy(payloads[i], &sequences[i], 8);
            if (client_publish(i, topics[i], payloads[i], job.payload)) {
                sequences[i]++;
                own->taken++;
            }
        }
    }
    return NULL;
}

static int later(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

static void echo(int milliseconds)
{
    static uint64_t times[4000000];
    static uint64_t sequence;
    size_t count = 0;
    char *payload = new_payload(0);
    uint64_t end = now() + (uint64_t)milliseconds * 1000000u;
    while (now() < end && count < sizeof times / sizeof *times) {
        uint64_t start = now();
        memcpy(payload, &sequence, 8);
        if (!client_publish(0, topics[0], payload, job.payload))
            fail("a message was not taken", 0);
        pthread_mutex_lock(&echo_lock);
        while (echo_sequence != sequence)
            pthread_cond_wait(&echo_came, &echo_lock);
        pthread_mutex_unlock(&echo_lock);
        times[count++] = now() - start;
        sequence++;
    }
    free(payload);
    qsort(times, count, sizeof *times, later);
    printf("%zu %llu %llu %llu\n", count, (unsigned long long)times[count / 2],
           (unsigned long long)times[count * 99 / 100],
           (unsigned long long)times[count * 999 / 1000]);
}

static void counts(void)
{
    uint64_t count = 0, errors = 0;
    for (int i = 0; i < job.clients; i++) {
        count += __atomic_load_n(&slots[i].count, __ATOMIC_RELAXED);
        errors += __atomic_load_n(&slots[i].errors, __ATOMIC_RELAXED);
    }
    printf("%llu %llu\n", (unsigned long long)count, (unsigned long long)errors);
}

static void connect_all(void)
{
    for (int i = 0; i < job.clients; i++)
        client_start(i);
    while (__atomic_load_n(&subscribed_count, __ATOMIC_ACQUIRE) < job.clients)
        usleep(500);
    puts("ready");
}

static void go(void)
{
    int threads = job.clients < MOST_PUBLISHERS ? job.clients : MOST_PUBLISHERS;
    for (int i = 0; i < threads; i++) {
        publishers[i].first = i;
        publishers[i].step = threads;
        pthread_create(&publishers[i].thread, NULL, publish, &publishers[i]);
    }
    puts("ok");
}

static void halt(void)
{
    uint64_t taken = 0;
    __atomic_store_n(&halted, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < MOST_PUBLISHERS; i++) {
        if (publishers[i].step == 0)
            continue;
        pthread_join(publishers[i].thread, NULL);
        taken += publishers[i].taken;
    }
    printf("%llu\n", (unsigned long long)taken);
}

static void quit(void)
{
    uint64_t start = now();
    for (int i = 0; i < job.clients; i++)
        client_stop(i);
    printf("%llu\n", (unsigned long long)((now() - start) / 1000));
}

static void read_job(int count, char **arguments)
{
    job = (struct job){.clients = 1, .window = 100, .payload = 64};
    for (int i = 1; i < count; i++) {
        sscanf(arguments[i], "port=%d", &job.port);
        sscanf(arguments[i], "clients=%d", &job.clients);
        sscanf(arguments[i], "qos=%d", &job.qos);
        sscanf(arguments[i], "window=%d", &job.window);
        sscanf(arguments[i], "payload=%d", &job.payload);
        sscanf(arguments[i], "kind=%15s", job.kind);
    }
    if (job.clients < 1 || job.clients > MOST_CLIENTS || job.payload < 20)
        fail("no such job", job.clients);
    slots = calloc((size_t)job.clients, sizeof *slots);
    topics = calloc((size_t)job.clients, sizeof *topics);
    for (int i = 0; i < job.clients; i++)
        snprintf(topics[i], sizeof *topics, "bench/%04d", i);
}

static int run(int count, char **arguments)
{
    char line[64];
    read_job(count, arguments);
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("started");
    while (fgets(line, sizeof line, stdin)) {
        if (!strncmp(line, "connect", 7))
            connect_all();
        else if (!strncmp(line, "counts", 6))
            counts();
        else if (!strncmp(line, "go", 2))
            go();
        else if (!strncmp(line, "halt", 4))
            halt();
        else if (!strncmp(line, "echo ", 5))
            echo(atoi(line + 5));
        else if (!strncmp(line, "quit", 4)) {
            quit();
            return 0;
        } else
            fail("unknown command", 0);
    }
    return 1;
}
