// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: kernel threads, and gates for them to wait at.
 */

#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/pid.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "shim.h"
#include "shim_thread.h"

/**
 * struct dormouse_thread - A kernel thread.
 * @run: What it does.
 * @ctx: Argument of @run.
 * @done: Completed when @run has returned.
 * @users: The thread itself, and whoever may wait for it.
 */
struct dormouse_thread {
	void (*run)(void *ctx);
	void *ctx;
	struct completion done;
	refcount_t users;
};

static void put_thread(struct dormouse_thread *thread)
{
	if (refcount_dec_and_test(&thread->users))
		kfree(thread);
}

static int thread_main(void *data)
{
	struct dormouse_thread *thread = data;

	thread->run(thread->ctx);
	/* From here on only code of the kernel runs: a module may go. */
	complete_all(&thread->done);
	put_thread(thread);
	return 0;
}

/**
 * dormouse_hush - Keep a fatal signal from ending waits, where signals are held.
 *
 * One that another thread of the process gets is passed on to all of them, whatever
 * they hold, and wakes them. It waits for the end of the hook after this.
 *
 * Context: Process context.
 * Return: True where signals are held.
 */
bool dormouse_hush(void)
{
	if (!sigismember(&current->blocked, SIGKILL))
		return false;
	spin_lock_irq(&current->sighand->siglock);
	recalc_sigpending();
	spin_unlock_irq(&current->sighand->siglock);
	return true;
}

/**
 * dormouse_run - Make a kernel thread and let it run.
 * @main: What it does.
 * @data: Argument of @main.
 * @name: Its name.
 *
 * Where signals are held, none keeps the thread from being made.
 *
 * Context: Process context. May sleep.
 * Return: The thread, or an ERR_PTR(); then @main is not called.
 */
struct task_struct *dormouse_run(int (*main)(void *data), void *data, const char *name)
{
	struct task_struct *task;

	dormouse_hush();
	task = kthread_run(main, data, "%s", name);
	/* A fatal signal came meanwhile; there is one at most. */
	if (task == ERR_PTR(-EINTR) && dormouse_hush())
		task = kthread_run(main, data, "%s", name);
	return task;
}

/**
 * dormouse_thread_spawn - Start a kernel thread, which is not freezable.
 * @name: Its name.
 * @run: What it does; called exactly once if this succeeds, otherwise never.
 * @ctx: Argument of @run.
 *
 * Context: Process context. May sleep.
 * Return: The thread, to be joined or left, or an ERR_PTR().
 */
struct dormouse_thread *dormouse_thread_spawn(const char *name, void (*run)(void *ctx),
					      void *ctx)
{
	struct dormouse_thread *thread;
	struct task_struct *task;

	thread = kzalloc(sizeof(*thread), GFP_KERNEL);
	if (!thread)
		return ERR_PTR(-ENOMEM);
	thread->run = run;
	thread->ctx = ctx;
	init_completion(&thread->done);
	refcount_set(&thread->users, 2);

	task = dormouse_run(thread_main, thread, name);
	if (IS_ERR(task)) {
		kfree(thread);
		return ERR_CAST(task);
	}
	return thread;
}

/**
 * dormouse_thread_wait - Wait a while for a thread to end.
 * @thread: The thread.
 * @ms: How long to wait.
 *
 * Context: Process context. May sleep.
 * Return: True if it has ended.
 */
bool dormouse_thread_wait(struct dormouse_thread *thread, u32 ms)
{
	return wait_for_completion_timeout(&thread->done, msecs_to_jiffies(ms));
}

/**
 * dormouse_thread_join - Wait for a thread to end and free it.
 * @thread: The thread.
 *
 * Context: Process context. May sleep.
 */
void dormouse_thread_join(struct dormouse_thread *thread)
{
	wait_for_completion_state(&thread->done, TASK_IDLE);
	put_thread(thread);
}

/**
 * dormouse_thread_leave - Let a thread go on, and free it when it has ended.
 * @thread: The thread.
 *
 * Context: Any.
 */
void dormouse_thread_leave(struct dormouse_thread *thread)
{
	put_thread(thread);
}

/**
 * struct dormouse_gate - A gate.
 * @opened: Completed while it is open.
 */
struct dormouse_gate {
	struct completion opened;
};

/**
 * dormouse_gate_new - Create a closed gate.
 *
 * Context: Process context. May sleep.
 * Return: The gate or NULL.
 */
struct dormouse_gate *dormouse_gate_new(void)
{
	struct dormouse_gate *gate = kzalloc(sizeof(*gate), GFP_KERNEL);

	if (gate)
		init_completion(&gate->opened);
	return gate;
}

/**
 * dormouse_gate_free - Free a gate that nobody waits at.
 * @gate: The gate.
 *
 * Context: Any.
 */
void dormouse_gate_free(struct dormouse_gate *gate)
{
	kfree(gate);
}

/**
 * dormouse_gate_open - Let everybody through, now and from now on.
 * @gate: The gate.
 *
 * Context: Any but NMI.
 */
void dormouse_gate_open(struct dormouse_gate *gate)
{
	complete_all(&gate->opened);
}

/**
 * dormouse_gate_close - Close a gate that nobody waits at.
 * @gate: The gate.
 *
 * Context: Any.
 */
void dormouse_gate_close(struct dormouse_gate *gate)
{
	reinit_completion(&gate->opened);
}

/**
 * dormouse_gate_wait - Wait until a gate is open.
 * @gate: The gate.
 *
 * Context: Process context. May sleep.
 */
void dormouse_gate_wait(struct dormouse_gate *gate)
{
	wait_for_completion_state(&gate->opened, TASK_IDLE);
}

/**
 * dormouse_gate_wait_within - Wait a while until a gate is open.
 * @gate: The gate.
 * @ms: How long to wait.
 *
 * Context: Process context. May sleep.
 * Return: True if it is open.
 */
bool dormouse_gate_wait_within(struct dormouse_gate *gate, u32 ms)
{
	return wait_for_completion_timeout(&gate->opened, msecs_to_jiffies(ms));
}

/**
 * dormouse_thread_bytes - Get the size of a kernel thread.
 *
 * Context: Any.
 * Return: Bytes of memory for its stack and what the kernel knows of it.
 */
size_t dormouse_thread_bytes(void)
{
	return THREAD_SIZE + sizeof(struct task_struct);
}

/**
 * dormouse_thread_id - Find out which thread this is.
 *
 * Context: Process context.
 * Return: Its number, never 0.
 */
u32 dormouse_thread_id(void)
{
	return task_pid_nr(current);
}

/**
 * dormouse_scope_begin - Change what allocations of this thread may do.
 * @kind: DORMOUSE_SCOPE_NOIO: they start no I/O. DORMOUSE_SCOPE_RESERVES: they
 *	reclaim nothing, and may take all that is kept for emergencies.
 *
 * Context: Process context.
 * Return: What dormouse_scope_end() needs.
 */
u32 dormouse_scope_begin(enum dormouse_scope kind)
{
	return kind == DORMOUSE_SCOPE_NOIO ? memalloc_noio_save() : memalloc_noreclaim_save();
}

/**
 * dormouse_scope_end - Let allocations of this thread do again what they did.
 * @kind: As it was begun.
 * @before: What dormouse_scope_begin() has returned.
 *
 * Context: Process context, the thread that called dormouse_scope_begin().
 */
void dormouse_scope_end(enum dormouse_scope kind, u32 before)
{
	if (kind == DORMOUSE_SCOPE_NOIO)
		memalloc_noio_restore(before);
	else
		memalloc_noreclaim_restore(before);
}

/**
 * dormouse_online_cpus - Count the CPUs.
 *
 * Context: Any.
 * Return: Those that are online.
 */
size_t dormouse_online_cpus(void)
{
	return num_online_cpus();
}
