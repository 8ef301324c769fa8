/* Stops a process, makes it fail, or takes its folder away, at its Nth step that touches the disk.

   SHIM_STEP: which step, from 1. SHIM_DOES: kill-before, kill-after, an errno, or remove. SHIM_FOLDER: what `remove`
   removes. SHIM_COUNT: a file that is told how many steps there were. Only steps in files below SHIM_BELOW count. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long steps;

static int below(const char *path) {
    const char *folder = getenv("SHIM_BELOW");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int fd_below(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

static void take_away(const char *folder) {
    pid_t child = fork();
    if (child == 0) {
        unsetenv("LD_PRELOAD");
        execl("/bin/rm", "rm", "-rf", folder, (char *)0);
        _exit(1);
    }
    waitpid(child, 0, 0);
}

/* Whether this step fails, with errno set. */
static int before(int *last) {
    pthread_mutex_lock(&lock);
    steps++;
    const char *step = getenv("SHIM_STEP"), *does = getenv("SHIM_DOES");
    long at = step ? atol(step) : 0;
    *last = 0;
    int fails = 0;
    if (at == steps && does) {
        if (strcmp(does, "kill-before") == 0) kill(getpid(), SIGKILL);
        else if (strcmp(does, "kill-after") == 0) *last = 1;
        else if (strcmp(does, "remove") == 0) take_away(getenv("SHIM_FOLDER"));
        else { errno = atoi(does); fails = 1; }
    }
    pthread_mutex_unlock(&lock);
    return fails;
}

static void after(int last) {
    if (last) kill(getpid(), SIGKILL);
}

__attribute__((destructor)) static void tell(void) {
    const char *count = getenv("SHIM_COUNT");
    FILE *out = count ? fopen(count, "w") : 0;
    if (!out) return;
    fprintf(out, "%ld\n", steps);
    fclose(out);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)

#define STEP(counts, call) \
    int last, result; \
    if (!(counts)) return call; \
    if (before(&last)) return -1; \
    result = call; \
    after(last); \
    return result

int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    STEP((flags & O_CREAT) && below(path), real(path, flags, mode));
}

int mkdir(const char *path, mode_t mode) { REAL(mkdir); STEP(below(path), real(path, mode)); }
int unlink(const char *path) { REAL(unlink); STEP(below(path), real(path)); }
int fsync(int fd) { REAL(fsync); STEP(fd_below(fd), real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); STEP(fd_below(fd), real(fd)); }
int rename(const char *from, const char *to) { REAL(rename); STEP(below(to), real(from, to)); }
int chmod(const char *path, mode_t mode) { REAL(chmod); STEP(below(path), real(path, mode)); }

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(write);
    int last;
    if (!fd_below(fd)) return real(fd, bytes, length);
    if (before(&last)) return -1;
    ssize_t written = real(fd, bytes, length);
    after(last);
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t place) {
    REAL(pwrite64);
    int last;
    if (!fd_below(fd)) return real(fd, bytes, length, place);
    if (before(&last)) return -1;
    ssize_t written = real(fd, bytes, length, place);
    after(last);
    return written;
}
