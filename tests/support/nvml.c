/* NVIDIA's management library of a machine with two cards, as far as Wenti asks it.
 *
 * Names, numbers of errors and layouts are those of nvml.h 11.8; the answers are made up.
 */
#include <stdio.h>
#include <string.h>

#define CARDS 2
#define NOT_FOUND 6

typedef struct { int index; } Card;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilization;

static Card cards[CARDS] = {{0}, {1}};
static const char *names[CARDS] = {"Tesla T4", "NVIDIA A10"};
static const char *uuids[CARDS] = {"GPU-77ee0000", "GPU-5a1b0000"};
static const int capabilities[CARDS][2] = {{7, 5}, {8, 6}};
static unsigned int looks;

int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned int flags) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12020; return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned int size) {
    snprintf(text, size, "535.104.05");
    return 0;
}
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = CARDS; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, Card **card) {
    if (index >= CARDS) return NOT_FOUND;
    *card = &cards[index];
    return 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, Card **card) {
    for (int index = 0; index < CARDS; index++)
        if (strcmp(uuid, uuids[index]) == 0) return nvmlDeviceGetHandleByIndex_v2(index, card);
    return NOT_FOUND;
}
int nvmlDeviceGetName(Card *card, char *text, unsigned int size) {
    snprintf(text, size, "%s", names[card->index]);
    return 0;
}
int nvmlDeviceGetUUID(Card *card, char *text, unsigned int size) {
    snprintf(text, size, "%s", uuids[card->index]);
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(Card *card, int *major, int *minor) {
    *major = capabilities[card->index][0];
    *minor = capabilities[card->index][1];
    return 0;
}
int nvmlDeviceGetMemoryInfo(Card *card, Memory *memory) {
    memory->total = 16000000000ull + 8000000000ull * card->index;
    memory->used = 1000000000ull * (looks % 3 + 1);  /* goes up and down */
    memory->free = memory->total - memory->used;
    return 0;
}
int nvmlDeviceGetUtilizationRates(Card *card, Utilization *rates) {
    rates->gpu = looks++ % 2 ? 90 : 40;
    rates->memory = 10;
    return 0;
}
