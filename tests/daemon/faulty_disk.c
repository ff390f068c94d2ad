/* Preloaded into a daemon: calls on files whose path has a word in it fail as a broken disk makes them fail.

   The file named by FAULTY_DISK has lines "ERRNO r|w|m WORD"; it is read at each call, so that faults come and go while
   the daemon runs. Without the file nothing fails. A negative number is a signal that the process gets instead: before it
   reads or writes, after it moved a file away from such a path (m, which has no other fault). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int rule(const char *path, char direction) {
    const char *name = getenv("FAULTY_DISK");
    char rules[1024];
    int file = name ? (int)syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (file < 0)
        return 0;
    ssize_t got = syscall(SYS_read, file, rules, sizeof rules - 1);
    syscall(SYS_close, file);
    if (got <= 0)
        return 0;
    rules[got] = 0;
    char *rest, word[256], kind;
    int number;
    for (char *line = strtok_r(rules, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (sscanf(line, "%d %c %255s", &number, &kind, word) == 3 && kind == direction && strstr(path, word)) {
            if (number < 0)
                kill(getpid(), -number);
            return number;
        }
    return 0;
}

static int fault(int fd, char direction) {
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return rule(path, direction);
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(fd, direction)                \
    do {                                   \
        int number = fault(fd, direction); \
        if (number) {                      \
            errno = number;                \
            return -1;                     \
        }                                  \
    } while (0)

ssize_t pread(int fd, void *to, size_t size, off_t at) { FAIL(fd, 'r'); return REAL(pread)(fd, to, size, at); }
ssize_t pread64(int fd, void *to, size_t size, off64_t at) { FAIL(fd, 'r'); return REAL(pread64)(fd, to, size, at); }
ssize_t preadv(int fd, const struct iovec *to, int count, off_t at) { FAIL(fd, 'r'); return REAL(preadv)(fd, to, count, at); }
ssize_t preadv64(int fd, const struct iovec *to, int count, off64_t at) { FAIL(fd, 'r'); return REAL(preadv64)(fd, to, count, at); }
ssize_t preadv2(int fd, const struct iovec *to, int count, off_t at, int flags) { FAIL(fd, 'r'); return REAL(preadv2)(fd, to, count, at, flags); }
ssize_t preadv64v2(int fd, const struct iovec *to, int count, off64_t at, int flags) { FAIL(fd, 'r'); return REAL(preadv64v2)(fd, to, count, at, flags); }
ssize_t read(int fd, void *to, size_t size) { FAIL(fd, 'r'); return REAL(read)(fd, to, size); }
ssize_t pwrite(int fd, const void *from, size_t size, off_t at) { FAIL(fd, 'w'); return REAL(pwrite)(fd, from, size, at); }
ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) { FAIL(fd, 'w'); return REAL(pwrite64)(fd, from, size, at); }
ssize_t write(int fd, const void *from, size_t size) { FAIL(fd, 'w'); return REAL(write)(fd, from, size); }

int rename(const char *from, const char *to) {
    int result = REAL(rename)(from, to);
    if (!result)
        rule(from, 'm');
    return result;
}

/* libtorrent's disk thread uses streams, and looks whether one is in error before it asks for the reason. */

#define STREAM_IN_ERROR 0x20 /* glibc's _IO_ERR_SEEN, which only the stream's own code may set */

size_t fread(void *to, size_t size, size_t count, FILE *stream) {
    int number = fault(fileno(stream), 'r');
    if (number) {
        stream->_flags |= STREAM_IN_ERROR;
        errno = number;
        return 0;
    }
    return REAL(fread)(to, size, count, stream);
}

size_t fwrite(const void *from, size_t size, size_t count, FILE *stream) {
    int number = fault(fileno(stream), 'w');
    if (number) {
        stream->_flags |= STREAM_IN_ERROR;
        errno = number;
        return 0;
    }
    return REAL(fwrite)(from, size, count, stream);
}
