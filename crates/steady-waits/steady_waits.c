// glibc's cnd_timedwait, but by a clock that nobody sets.

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <threads.h>
#include <time.h>

#define SECOND_NS 1000000000L

_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "a condition of POSIX by another name");
_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "a mutex of POSIX by another name");

// The longest wait. The clock may be set in between its being read by the caller and by us; then this
// is what it costs. Waking up without a reason is allowed, and callers look whether there is one.
#define LONGEST_S 1

// Weak, so that a librdkafka that brings one of its own keeps it.
__attribute__((weak)) int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                                        const struct timespec *restrict deadline) {
    struct timespec now, until;
    if (clock_gettime(CLOCK_REALTIME, &now) || clock_gettime(CLOCK_MONOTONIC, &until)) {
        return thrd_error;
    }
    time_t wait_s = deadline->tv_sec - now.tv_sec;
    long wait_ns = deadline->tv_nsec - now.tv_nsec;
    if (wait_ns < 0) {
        wait_s -= 1;
        wait_ns += SECOND_NS;
    }
    int cut_short = wait_s >= LONGEST_S;
    if (cut_short) {
        wait_s = LONGEST_S;
        wait_ns = 0;
    } else if (wait_s < 0) {
        wait_s = 0;
        wait_ns = 0;
    }
    until.tv_sec += wait_s;
    until.tv_nsec += wait_ns;
    if (until.tv_nsec >= SECOND_NS) {
        until.tv_sec += 1;
        until.tv_nsec -= SECOND_NS;
    }

    // In glibc C's conditions and mutexes are those of POSIX under another name.
    switch (pthread_cond_clockwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex,
                                   CLOCK_MONOTONIC, &until)) {
    case 0:
        return thrd_success;
    case ETIMEDOUT:
        return cut_short ? thrd_success : thrd_timedout;
    default:
        return thrd_error;
    }
}
