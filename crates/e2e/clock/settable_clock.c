// A wall clock that can be set while its process runs, preloaded with LD_PRELOAD.
//
// SETTABLE_CLOCK names a file whose first eight bytes, a signed integer, say how many seconds the
// clock is ahead. Clocks that nobody can set are left alone.
//
// Waits until a moment of the wall clock do what the kernel's do: set back by an hour, they take an
// hour longer. That is what libfaketime leaves out: it makes a duration of such a moment first.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)

// Until a wait looks at the clock again.
#define LOOK_EVERY_NS (20 * 1000 * 1000)

static int64_t nothing;
static const int64_t *ahead_s = &nothing;

__attribute__((constructor)) static void find(void) {
    const char *path = getenv("SETTABLE_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead_s, PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) {
        // A test would go on, and show nothing.
        abort();
    }
    close(file);
    ahead_s = page;
}

static int64_t ahead(void) {
    return __atomic_load_n(ahead_s, __ATOMIC_RELAXED);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += ahead();
    }
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    (void)zone;
    struct timespec time;
    int failed = clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return failed;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, now) ? base : 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}

static int64_t in_ns(struct timespec time) {
    return time.tv_sec * SECOND_NS + time.tv_nsec;
}

static int64_t left_ns(const struct timespec *deadline) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return in_ns(*deadline) - in_ns(now);
}

// Of conditions that wait by the wall clock, as all do that nobody has told otherwise.
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           const struct timespec *deadline) {
    int64_t ahead_at_first_s = ahead();
    for (;;) {
        int64_t wait_ns = left_ns(deadline);
        if (wait_ns <= 0) {
            return ETIMEDOUT;
        }
        struct timespec look;
        clock_gettime(CLOCK_MONOTONIC, &look);
        int64_t look_ns = in_ns(look) + (wait_ns < LOOK_EVERY_NS ? wait_ns : LOOK_EVERY_NS);
        look.tv_sec = look_ns / SECOND_NS;
        look.tv_nsec = look_ns % SECOND_NS;

        int result = pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &look);
        if (result != ETIMEDOUT) {
            return result;
        }
        // To wait again here could miss a signal that came in between, so this is a wake-up without
        // a reason, which is allowed; but not where the clock was set back, as nobody would be woken.
        if (ahead() >= ahead_at_first_s) {
            return left_ns(deadline) > 0 ? 0 : ETIMEDOUT;
        }
    }
}

// What librdkafka calls. In glibc the two kinds of conditions and mutexes are the same thing.
int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *deadline) {
    switch (pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, deadline)) {
    case 0:
        return thrd_success;
    case ETIMEDOUT:
        return thrd_timedout;
    default:
        return thrd_error;
    }
}
