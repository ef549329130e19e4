/* A disk and a clock that misbehave when they are told to.
 *
 * In a process started with LD_PRELOAD=<this library> and FAULTY_DISK=<control file>, and in all
 * that it starts, each call that makes, fills, syncs, renames or removes something under the
 * control's root is held against the plan in that file before the real call is made. The file is
 * mapped and shared: counts are exact across processes, and tests/support/faulty_disk.py can change the
 * plan at any time.
 *
 * Not seen: paths that reach the root through another link or `..`, and what the C library writes
 * by itself (fwrite, fputs). Python, pyarrow, Paddle and SQLite make their calls from outside it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum op { OPEN = 1, WRITE = 2, FSYNC = 4, RENAME = 8, LINK = 16, MKDIR = 32, REMOVE = 64 };
enum action { COUNT, FAIL, SIGNAL };

struct control { /* as class _Control of tests/support/faulty_disk.py */
    char root[PATH_MAX], log[PATH_MAX], pattern[PATH_MAX];
    uint32_t ops;
    _Atomic uint32_t action;
    int32_t number; /* the errno, or the signal */
    int32_t spared_group;
    uint32_t before, whole_group;
    uint64_t first, last; /* of the matching calls, from 1 */
    _Atomic uint64_t matched, hits;
    _Atomic int64_t clock_offset;
};

static struct control *control;

/* The definition that this library hides; NULL only if there is none. */
#define REAL(name)                                                 \
    ({                                                             \
        static __typeof__(&name) real;                             \
        if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        real;                                                      \
    })

/* Also called by processes that were forked from one with another control: tests/support/warm.py. */
__attribute__((constructor)) void attach(void)
{
    const char *path = getenv("FAULTY_DISK");
    int file = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) abort(); /* a test without its faults would pass for nothing */
    syscall(SYS_close, file);
    control = shared;
}

/* The path of an open file or folder, or of `name` in it; false when it has none. */
static bool locate(char *path, int descriptor, const char *name)
{
    char link[32] = "/proc/self/cwd";
    ssize_t used = 0;
    if (!name || *name != '/') {
        if (descriptor != AT_FDCWD) snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        used = readlink(link, path, PATH_MAX - 1);
        if (used < 0) return false;
    }
    path[used] = 0;
    const char *slash = name && used ? "/" : "";
    return !name || snprintf(path + used, PATH_MAX - used, "%s%s", slash, name) < PATH_MAX - used;
}

/* The part of a path below the root, or NULL when it lies outside. */
static const char *below_root(const char *path)
{
    size_t length = strlen(control->root);
    if (strncmp(path, control->root, length)) return NULL;
    return path[length] == '/' ? path + length + 1 : path[length] ? NULL : ".";
}

/* Opened each time: the program could close a descriptor that is kept, and use its number. */
static void trace(enum op op, const char *path)
{
    static const char *names[] = {"open", "write", "fsync", "rename", "link", "mkdir", "remove"};
    char line[PATH_MAX + 16];
    int length = snprintf(line, sizeof line, "%s\t%s\n", names[__builtin_ctz(op)], path);
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC;
    int file = (int)syscall(SYS_openat, AT_FDCWD, control->log, flags, 0600);
    syscall(SYS_write, file, line, length);
    syscall(SYS_close, file);
}

static void strike(void)
{
    /* The spared group is the test's own: a program started without one of its own dies alone. */
    if (control->whole_group && getpgrp() != control->spared_group)
        kill(0, control->number);
    else
        syscall(SYS_tgkill, getpid(), gettid(), control->number);
    /* Another thread may be the one that takes the signal: get no further until then. */
    usleep(50000);
}

/* Count a call and do what the plan says: 0 to go on, -1 to go on and strike, or the errno. */
static int consult(enum op op, const char *path)
{
    trace(op, path);
    if (!(control->ops & op) || fnmatch(control->pattern, path, 0)) return 0;
    uint64_t number = atomic_fetch_add(&control->matched, 1) + 1;
    uint32_t action = atomic_load(&control->action);
    if (action == COUNT || number < control->first || number > control->last) return 0;
    atomic_fetch_add(&control->hits, 1);
    if (action == FAIL) return control->number;
    if (!control->before) return -1;
    strike();
    return 0;
}

static int meet(enum op op, int descriptor, const char *name)
{
    char path[PATH_MAX];
    int kept = errno, verdict = 0;
    const char *below = NULL;
    if (control && locate(path, descriptor, name)) below = below_root(path);
    if (below) verdict = consult(op, below);
    errno = kept;
    return verdict;
}

/* A rename or a link counts as the name it makes. */
static int meet_pair(enum op op, int from, const char *old, int to, const char *new)
{
    char path[PATH_MAX];
    bool makes = control && locate(path, to, new) && below_root(path);
    return makes ? meet(op, to, new) : meet(op, from, old);
}

/* The body of a function that comes before the one of the C library. */
#define UNLESS(verdict, failed, call)   \
    do {                                \
        int met = verdict;              \
        if (met > 0) {                  \
            errno = met;                \
            return failed;              \
        }                               \
        __typeof__(call) result = call; \
        int kept = errno;               \
        if (met < 0) strike();          \
        errno = kept;                   \
        return result;                  \
    } while (0)
#define GUARD(type, name, parameters, arguments, verdict) \
    type name parameters { UNLESS(verdict, -1, REAL(name) arguments); }

static int open_at(int folder, const char *name, int flags, va_list rest)
{
    bool makes = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
    mode_t mode = makes ? va_arg(rest, mode_t) : 0;
    bool writes = makes || flags & (O_WRONLY | O_RDWR);
    UNLESS(writes ? meet(OPEN, folder, name) : 0, -1, REAL(openat)(folder, name, flags, mode));
}

int open(const char *name, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    int result = open_at(AT_FDCWD, name, flags, rest);
    va_end(rest);
    return result;
}

int openat(int folder, const char *name, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    int result = open_at(folder, name, flags, rest);
    va_end(rest);
    return result;
}

int creat(const char *name, mode_t mode) { return open(name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

FILE *fopen(const char *name, const char *mode)
{
    bool writes = strpbrk(mode, "wa+");
    UNLESS(writes ? meet(OPEN, AT_FDCWD, name) : 0, NULL, REAL(fopen)(name, mode));
}

GUARD(ssize_t, write, (int file, const void *data, size_t size), (file, data, size),
      meet(WRITE, file, NULL))
GUARD(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at),
      meet(WRITE, file, NULL))
GUARD(ssize_t, writev, (int file, const struct iovec *data, int count), (file, data, count),
      meet(WRITE, file, NULL))
GUARD(ssize_t, sendfile, (int to, int from, off_t *at, size_t size), (to, from, at, size),
      meet(WRITE, to, NULL))
GUARD(int, fsync, (int file), (file), meet(FSYNC, file, NULL))
GUARD(int, fdatasync, (int file), (file), meet(FSYNC, file, NULL))
GUARD(int, rename, (const char *old, const char *new), (old, new),
      meet_pair(RENAME, AT_FDCWD, old, AT_FDCWD, new))
GUARD(int, renameat, (int from, const char *old, int to, const char *new), (from, old, to, new),
      meet_pair(RENAME, from, old, to, new))
GUARD(int, link, (const char *old, const char *new), (old, new),
      meet_pair(LINK, AT_FDCWD, old, AT_FDCWD, new))
GUARD(int, linkat, (int from, const char *old, int to, const char *new, int flags),
      (from, old, to, new, flags), meet_pair(LINK, from, old, to, new))
GUARD(int, symlink, (const char *target, const char *new), (target, new),
      meet(LINK, AT_FDCWD, new))
GUARD(int, mkdir, (const char *name, mode_t mode), (name, mode), meet(MKDIR, AT_FDCWD, name))
GUARD(int, mkdirat, (int folder, const char *name, mode_t mode), (folder, name, mode),
      meet(MKDIR, folder, name))
GUARD(int, unlink, (const char *name), (name), meet(REMOVE, AT_FDCWD, name))
GUARD(int, unlinkat, (int folder, const char *name, int flags), (folder, name, flags),
      meet(REMOVE, folder, name))
GUARD(int, rmdir, (const char *name), (name), meet(REMOVE, AT_FDCWD, name))

/* On x86-64 the names for large files mean the same. */
int open64(const char *, int, ...) __attribute__((alias("open")));
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));
int creat64(const char *, mode_t) __attribute__((alias("creat")));
FILE *fopen64(const char *, const char *) __attribute__((alias("fopen")));
ssize_t pwrite64(int, const void *, size_t, off64_t) __attribute__((alias("pwrite")));
ssize_t sendfile64(int, int, off64_t *, size_t) __attribute__((alias("sendfile")));

/* The clock. Only what programs are told of the time of day moves, not the kernel's own: the times
 * of files stay, and so must the moments until which a thread waits. */
static time_t offset(void) { return control ? atomic_load(&control->clock_offset) : 0; }

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = REAL(clock_gettime)(clock, now);
    bool is_moved = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (!result && is_moved) now->tv_sec += offset();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int result = REAL(gettimeofday)(now, zone);
    if (!result) now->tv_sec += offset();
    return result;
}

time_t time(time_t *now)
{
    time_t moved = REAL(time)(NULL) + offset();
    if (now) *now = moved;
    return moved;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    /* By version: x86-64 also has one of before 2003. */
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) real = (__typeof__(real))dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = REAL(pthread_cond_timedwait);
    struct timespec moment = *until;
    /* A condition does not tell its clock, but a monotonic one is not at its billionth second. */
    if (moment.tv_sec > 1000000000) moment.tv_sec -= offset();
    return real(condition, mutex, &moment);
}
