/* A PKCS#11 module that passes everything on to SoftHSM, but for the calls that a file tells it to fail.
 *
 * A line of the file named by LIGHTNING_TEST_HSM_FAULTS is CALL CODE SECONDS TIMES: the call waits, and then gives the
 * code instead of being passed on (0: it is passed on), so many times. Each call of C_Login is written to FILE.logins. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long rv_t;
typedef rv_t (*call_t)(unsigned long, void *, void *, void *, void *, void *, void *, void *);

/* As the standard lays it out: a version, then one pointer for each function in its order. */
struct list { unsigned char version[2]; call_t call[68]; };

enum { C_GetTokenInfo = 6, C_OpenSession = 12, C_Login = 18, C_GetAttributeValue = 24, C_FindObjectsInit = 26, C_WrapKey = 60, C_UnwrapKey = 61 };

static struct list *real, ours;
static int used[68];

static rv_t fault(const char *name, int number, int *failed) {
    char wanted[64];
    unsigned long code;
    unsigned seconds;
    int times;
    const char *path = getenv("LIGHTNING_TEST_HSM_FAULTS");
    FILE *file = path ? fopen(path, "r") : NULL;
    *failed = 0;
    if (!file) return 0;
    while (fscanf(file, "%63s %lx %u %d", wanted, &code, &seconds, &times) == 4) {
        if (strcmp(wanted, name) != 0 || used[number] >= times) continue;
        used[number]++;
        fclose(file);
        sleep(seconds);
        *failed = code != 0;
        return code;
    }
    fclose(file);
    return 0;
}

static void note_login(void) {
    char path[4096];
    const char *faults = getenv("LIGHTNING_TEST_HSM_FAULTS");
    if (!faults) return;
    snprintf(path, sizeof path, "%s.logins", faults);
    FILE *file = fopen(path, "a");
    if (file) { fputs("x", file); fclose(file); }
}

#define DOUBLE(NAME)                                                                                       \
    static rv_t my_##NAME(unsigned long a, void *b, void *c, void *d, void *e, void *f, void *g, void *h) { \
        int failed;                                                                                        \
        if (NAME == C_Login) note_login();                                                                 \
        rv_t code = fault(#NAME, NAME, &failed);                                                           \
        return failed ? code : real->call[NAME](a, b, c, d, e, f, g, h);                                   \
    }

DOUBLE(C_OpenSession)
DOUBLE(C_Login)
DOUBLE(C_GetAttributeValue)
DOUBLE(C_FindObjectsInit)
DOUBLE(C_WrapKey)
DOUBLE(C_UnwrapKey)

/* Its code is no failure: these flags are added to what the token tells. They stand behind four texts. */
static rv_t my_C_GetTokenInfo(unsigned long a, void *b, void *c, void *d, void *e, void *f, void *g, void *h) {
    int told;
    rv_t flags = fault("C_GetTokenInfo", C_GetTokenInfo, &told);
    rv_t code = real->call[C_GetTokenInfo](a, b, c, d, e, f, g, h);
    if (told && code == 0) *(unsigned long *)((char *)b + 96) |= flags;
    return code;
}

rv_t C_GetFunctionList(struct list **list) {
    void *library = dlopen(SOFTHSM, RTLD_NOW | RTLD_LOCAL);
    rv_t (*get)(struct list **) = library ? (rv_t (*)(struct list **))dlsym(library, "C_GetFunctionList") : NULL;
    if (!get || get(&real) != 0) return 5;
    ours = *real;
    ours.call[C_OpenSession] = my_C_OpenSession;
    ours.call[C_Login] = my_C_Login;
    ours.call[C_GetTokenInfo] = my_C_GetTokenInfo;
    ours.call[C_GetAttributeValue] = my_C_GetAttributeValue;
    ours.call[C_FindObjectsInit] = my_C_FindObjectsInit;
    ours.call[C_WrapKey] = my_C_WrapKey;
    ours.call[C_UnwrapKey] = my_C_UnwrapKey;
    *list = &ours;
    return 0;
}
