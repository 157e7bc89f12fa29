"""
A machine whose signing and whose Salt see a wrong clock.

The kernel's clock is the same in all containers. So a small library replaces the C library's
functions that read the clock. libfaketime is no choice: under it Python's ``time.sleep`` fails or
never ends (measured, 0.9.10 and Python 3.11).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from support.machine import Machine

SECONDS_OF_A_DAY = 86400
LIBRARY = "/usr/local/lib/wrong-clock.so"
# Who sets a clock leaves the monotonic clock alone (clock_gettime(2)).
SOURCE = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long wrong_by;

/* At the start, since a process may clear its environment. */
__attribute__((constructor)) static void read_environment(void)
{
    const char *seconds = getenv("WRONG_BY");
    wrong_by = seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += wrong_by;
    return status;
}

time_t time(time_t *stored)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (stored)
        *stored = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *now, void *zone)
{
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}
"""
# A drop-in of this folder counts for each service (systemd.unit(5)). Postfix clears LD_PRELOAD from
# its environment (postconf(5), import_environment).
DROP_IN = "/run/systemd/system/service.d/clock.conf"
SERVICES = "opendkim opendkim-watchdog salt-minion"


@contextmanager
def off_by(machine: Machine, days: int) -> Iterator[None]:
    """Set the clock of the daemons, of the minion and of each service that starts off by days."""
    machine.install("gcc", "libc6-dev")
    machine.run(f"gcc -shared -fPIC -x c -o {LIBRARY} -", input=SOURCE)
    seconds = days * SECONDS_OF_A_DAY
    machine.write(
        DROP_IN, f"[Service]\nEnvironment=LD_PRELOAD={LIBRARY}\nEnvironment=WRONG_BY={seconds}\n"
    )
    machine.run(f"systemctl daemon-reload; systemctl restart {SERVICES}")
    try:
        yield
    finally:
        machine.run(f"rm {DROP_IN}; systemctl daemon-reload; systemctl restart {SERVICES}")
