// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: power management, as far as every kernel has it.
 */

#include <linux/errno.h>
#include <linux/printk.h>
#include <linux/processor.h>
#include <linux/rcupdate.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
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
 * dormouse_go_down - Power off or reboot.
 * @reboot: True for the latter.
 *
 * Does what hibernate() does in the modes "shutdown" and "reboot" when the
 * image has been written.  A machine that cannot be powered off is halted: if it
 * went on, its disks would not be those of the image any more.
 *
 * Context: Process context, the thread that hibernates. Does not return.
 */
void __noreturn dormouse_go_down(bool reboot)
{
	if (reboot)
		kernel_restart(NULL);
	else if (kernel_can_power_off())
		kernel_power_off();
	kernel_halt();
	pr_crit("dormouse: power down manually\n");
	while (1)
		cpu_relax();
}

static bool descends_from(struct task_struct *task, struct task_struct *process)
{
	/* Ends at the idle task, the parent of init and kthreadd. */
	for (; task->pid; task = rcu_dereference(task->real_parent))
		if (same_thread_group(task, process))
			return true;
	return false;
}

/**
 * dormouse_set_no_pm_freeze - Exempt a process from freezing.
 * @pid: Its ID in the namespace of the caller.
 *
 * What it has started is exempted, too: a process that waits for a frozen
 * child would stand still as well.
 *
 * Context: Any but NMI.
 * Return: 0, -ESRCH, or -EINVAL for a kernel thread, which may write to
 * filesystems.
 */
int dormouse_set_no_pm_freeze(s32 pid)
{
	struct task_struct *process, *p, *thread;
	int ret = -ESRCH;

	rcu_read_lock();
	process = find_task_by_vpid(pid);
	if (process && (process->flags & PF_KTHREAD)) {
		ret = -EINVAL;
	} else if (process) {
		for_each_process_thread(p, thread)
			if (descends_from(p, process) && !(p->flags & PF_KTHREAD))
				task_set_no_pm_freeze(thread);
		ret = 0;
	}
	rcu_read_unlock();
	return ret;
}

/**
 * dormouse_clear_no_pm_freeze - Exempt nobody from freezing any more.
 *
 * Children inherit the exemption and may have another parent by now, so this
 * goes through all of them.
 *
 * Context: Any but NMI.
 */
void dormouse_clear_no_pm_freeze(void)
{
	struct task_struct *p, *thread;

	rcu_read_lock();
	for_each_process_thread(p, thread)
		task_clear_no_pm_freeze(thread);
	rcu_read_unlock();
}

/**
 * dormouse_task_name - Get the name of a task.
 * @pid: Its ID in the namespace of the caller.
 * @name: Where to put the name, NUL-terminated.
 * @size: Room there.
 *
 * Context: Any but NMI.
 * Return: False if there is no such task.
 */
bool dormouse_task_name(s32 pid, char *name, size_t size)
{
	struct task_struct *task;

	rcu_read_lock();
	task = find_task_by_vpid(pid);
	if (task)
		strscpy(name, task->comm, size);
	rcu_read_unlock();
	return task;
}
