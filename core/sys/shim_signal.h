/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Dormouse: signals to the task that hibernates.
 *
 * It is not frozen, so signals reach it: a wait that one of them ends, and all
 * that follow, would look like a lost connection to a server.
 */
#ifndef _DORMOUSE_SHIM_SIGNAL_H
#define _DORMOUSE_SHIM_SIGNAL_H

#include <linux/cleanup.h>
#include <linux/sched.h>
#include <linux/signal.h>

/*
 * Keep all signals from the current task, SIGKILL too. They wait until
 * release_signals(). Process context, with interrupts on.
 */
static inline void hold_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, before);
}

static inline void release_signals(sigset_t *before)
{
	sigprocmask(SIG_SETMASK, before, NULL);
}

static inline sigset_t held_signals(void)
{
	sigset_t before;

	hold_signals(&before);
	return before;
}

/* As long as the variable is there, signals are held. */
DEFINE_CLASS(held_signals, sigset_t, release_signals(&_T), held_signals(), void)

#endif /* _DORMOUSE_SHIM_SIGNAL_H */
