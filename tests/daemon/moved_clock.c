/* Preloaded into a daemon: the time of day is off by the seconds in the file named by MOVED_CLOCK, read at each call.
   Steady clocks stay as they are, as when somebody sets the clock of a running system. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    long result = syscall(SYS_clock_gettime, clock, now);
    const char *name = getenv("MOVED_CLOCK");
    char text[32];
    int file;
    if (result || clock != CLOCK_REALTIME || !name)
        return (int)result;
    file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
    now->tv_sec += atol(text);
    return 0;
}
