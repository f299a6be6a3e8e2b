// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: power management, as far as every kernel has it.
 */

#include <linux/errno.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/suspend.h>

#include "shim.h"

/**
 * dormouse_hibernation_available - Find out if hibernation is allowed.
 *
 * Context: Any.
 * Return: False if not, by the command line, lockdown, or otherwise.
 */
bool dormouse_hibernation_available(void)
{
	return hibernation_available();
}

/**
 * dormouse_trigger_hibernate - Hibernate.
 *
 * Context: Process context, with no locks held. May sleep.
 * Return: 0 when restored or otherwise back, or a negative error code.
 */
int dormouse_trigger_hibernate(void)
{
	return hibernate();
}

/**
 * dormouse_trigger_resume - Resume, if there is an image of Dormouse.
 *
 * Context: Process context, with no locks held. May sleep.
 * Return: A negative error code; if there is an image it does not return.
 */
int dormouse_trigger_resume(void)
{
	return hibernation_resume();
}

/**
 * dormouse_wakeup_pending - Find out if a wakeup event aborts the transition.
 *
 * Context: Any.
 * Return: True if so.
 */
bool dormouse_wakeup_pending(void)
{
	return pm_wakeup_pending();
}

/**
 * dormouse_set_no_pm_freeze - Exempt a process from freezing, or not any more.
 * @pid: Its ID in the namespace of the caller.
 * @on: True to exempt it.
 *
 * Context: Any but NMI.
 * Return: 0 or -ESRCH.
 */
int dormouse_set_no_pm_freeze(s32 pid, bool on)
{
	struct task_struct *process, *thread;
	int ret = -ESRCH;

	rcu_read_lock();
	process = find_task_by_vpid(pid);
	if (process) {
		for_each_thread(process, thread) {
			if (on)
				task_set_no_pm_freeze(thread);
			else
				task_clear_no_pm_freeze(thread);
		}
		ret = 0;
	}
	rcu_read_unlock();
	return ret;
}
