/* Records NVTX calls in place of a profiler, one a line: `push`, `pop`, `name` or `start`, the
 * domain, the thread by number and name, and the text. NVTX loads it through NVTX_INJECTION64_PATH.
 * Numbers and layouts are the ABI of NVTX 3: nvtxTypes.h and nvToolsExt.h. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CALLBACKS = 1, CORE2 = 5 };
enum { RANGE_START = 2, RANGE_PUSH = 4, RANGE_POP = 5, REGISTER_STRING = 10, DOMAIN_CREATE = 12 };
enum { MESSAGE_REGISTERED = 3 };

struct attributes {
    uint16_t version, size;
    uint32_t category;
    int32_t color_type;
    uint32_t color;
    int32_t payload_type, reserved;
    uint64_t payload;
    int32_t message_type;
    const char *message;
};

typedef void (*function)(void);

struct callbacks {
    size_t size;
    int (*table)(int module, function ***table, unsigned *size);
};

static int out = -1;

static void record(const char *what, const char *domain, const char *text) {
    char thread[16] = "", line[256];
    pthread_getname_np(pthread_self(), thread, sizeof thread);
    int length = snprintf(line, sizeof line, "%s %s %d %s %s\n", what, domain, (int)gettid(), thread, text);
    if (write(out, line, (size_t)length) != length) abort();
}

static void *create(const char *name) { return strdup(name); }

static void *name(void *domain, const char *string) {
    record("name", domain, string);
    return strdup(string);
}

static int push(void *domain, const struct attributes *of) {
    record("push", domain, of->message_type == MESSAGE_REGISTERED && of->payload_type == 0 ? of->message : "?");
    return 0;
}

static int pop(void *domain) {
    record("pop", domain, "-");
    return 0;
}

static uint64_t start(void *domain, const struct attributes *of) {
    (void)of;
    record("start", domain, "?");
    return 0;
}

int InitializeInjectionNvtx2(const void *(*export)(uint32_t)) {
    const struct callbacks *callbacks = export(CALLBACKS);
    function **table = NULL;
    unsigned size = 0;
    if (callbacks == NULL || !callbacks->table(CORE2, &table, &size) || size <= DOMAIN_CREATE) return 0;
    out = open(getenv("DRIVEWAM_TEST_RANGES"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (out < 0) return 0;
    *table[DOMAIN_CREATE] = (function)create;
    *table[REGISTER_STRING] = (function)name;
    *table[RANGE_PUSH] = (function)push;
    *table[RANGE_POP] = (function)pop;
    *table[RANGE_START] = (function)start;
    return 1;
}
