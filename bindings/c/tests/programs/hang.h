/* A hang is a failure with a message: it says what was being done. */
#ifndef HANG_H
#define HANG_H

#include <signal.h>
#include <string.h>
#include <unistd.h>

static const char *volatile doing_ = "";

static void hung_(int signal) {
    const char *what = doing_;
    (void)signal;
    /* Async-signal-safe, all of it. */
    (void)!write(STDERR_FILENO, "hung in ", 8);
    (void)!write(STDERR_FILENO, what, strlen(what));
    (void)!write(STDERR_FILENO, "\n", 1);
    _exit(1);
}

/* From now on this is done, and must be over in so many seconds. `what` stays valid. */
static void within(unsigned seconds, const char *what) {
    doing_ = what;
    signal(SIGALRM, hung_);
    alarm(seconds);
}

#endif
