/* Preloaded into a process, this writes down everything that it does to the files of one folder: what it writes and
   where, what it cuts off, which names it makes and takes away, and what it waits for the disk to have (fsync,
   fdatasync). The folder is $WATCHED, the log $WATCH_LOG. Read by powercut.py. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct entry { char op; char pad[3]; uint32_t name; uint64_t inode; int64_t offset; uint64_t length; };

static int log_fd = -1;
static char folder[PATH_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("WATCH_LOG"), *watched = getenv("WATCHED");
    if (name && watched && realpath(watched, folder)) log_fd = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
}

static void note(char op, uint64_t inode, const char *name, int64_t offset, const void *data, uint64_t length) {
    struct entry entry = {op, {0}, (uint32_t)strlen(name), inode, offset, length};
    struct iovec parts[3] = {{&entry, sizeof entry}, {(void *)name, entry.name}, {(void *)data, length}};
    pthread_mutex_lock(&lock);
    if (writev(log_fd, parts, data ? 3 : 2) < 0) abort();
    pthread_mutex_unlock(&lock);
}

/* The file's name within the folder, NULL for one that is elsewhere. */
static const char *within(const char *path) {
    size_t length = strlen(folder);
    if (log_fd < 0 || strncmp(path, folder, length)) return NULL;
    return path[length] == '/' ? path + length + 1 : path[length] ? NULL : "";
}

static const char *name_of(int fd, char *path, uint64_t *inode) {
    char link[64];
    struct stat status;
    ssize_t length;
    if (log_fd < 0 || fd == log_fd || fstat(fd, &status)) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if ((length = readlink(link, path, PATH_MAX - 1)) < 0) return NULL;
    path[length] = 0;
    *inode = status.st_ino;
    return within(path);
}

static void noted(char op, int fd, int64_t offset, const void *data, int64_t length) {
    char path[PATH_MAX];
    uint64_t inode;
    const char *name = length < 0 ? NULL : name_of(fd, path, &inode);
    if (name) note(op, inode, name, offset, data, (uint64_t)length);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    ssize_t done = REAL(pwrite)(fd, data, size, offset);
    noted('w', fd, offset, data, done);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    ssize_t done = REAL(pwrite64)(fd, data, size, offset);
    noted('w', fd, offset, data, done);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) {
    ssize_t done = REAL(write)(fd, data, size);
    if (done > 0) noted('w', fd, lseek(fd, 0, SEEK_CUR) - done, data, done);
    return done;
}

int ftruncate(int fd, off_t size) {
    int done = REAL(ftruncate)(fd, size);
    if (!done) noted('t', fd, size, NULL, 0);
    return done;
}

int ftruncate64(int fd, off64_t size) {
    int done = REAL(ftruncate64)(fd, size);
    if (!done) noted('t', fd, size, NULL, 0);
    return done;
}

int fsync(int fd) {
    int done = REAL(fsync)(fd);
    if (!done) noted('s', fd, 0, NULL, 0);
    return done;
}

int fdatasync(int fd) {
    int done = REAL(fdatasync)(fd);
    if (!done) noted('s', fd, 0, NULL, 0);
    return done;
}

/* Notes a name that is there now, by the file that it names. */
static int named(int done, int fd) {
    if (done >= 0) noted('n', fd, 0, NULL, 0);
    return done;
}

#define OPEN(function, ...)                                                                                           \
    mode_t mode = 0;                                                                                                  \
    if (flags & O_CREAT) {                                                                                            \
        va_list rest;                                                                                                 \
        va_start(rest, flags);                                                                                        \
        mode = va_arg(rest, mode_t);                                                                                  \
        va_end(rest);                                                                                                 \
    }                                                                                                                 \
    int fd = REAL(function)(__VA_ARGS__, flags, mode);                                                                \
    return flags & O_CREAT ? named(fd, fd) : fd;

int open(const char *path, int flags, ...) { OPEN(open, path) }
int open64(const char *path, int flags, ...) { OPEN(open64, path) }
int openat(int at, const char *path, int flags, ...) { OPEN(openat, at, path) }
int openat64(int at, const char *path, int flags, ...) { OPEN(openat64, at, path) }

int link(const char *from, const char *to) {
    int done = REAL(link)(from, to);
    struct stat status;
    const char *name = within(to);
    if (!done && name && !stat(to, &status)) note('n', status.st_ino, name, 0, NULL, 0);
    return done;
}

int linkat(int at, const char *from, int to_at, const char *to, int flags) {
    int done = REAL(linkat)(at, from, to_at, to, flags);
    struct stat status;
    const char *name = within(to);
    if (!done && name && !stat(to, &status)) note('n', status.st_ino, name, 0, NULL, 0);
    return done;
}

int unlink(const char *path) {
    int done = REAL(unlink)(path);
    const char *name = within(path);
    if (!done && name) note('u', 0, name, 0, NULL, 0);
    return done;
}

int unlinkat(int at, const char *path, int flags) {
    int done = REAL(unlinkat)(at, path, flags);
    const char *name = within(path);
    if (!done && name) note('u', 0, name, 0, NULL, 0);
    return done;
}
