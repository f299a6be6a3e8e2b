// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: the way in from the kernel's hibernation code, and the way there.
 */

#include <linux/cleanup.h>
#include <linux/errno.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/signal.h>
#include <linux/string.h>
#include <linux/suspend.h>

#include "power.h"
#include "shim.h"

/* Set while the image operations are registered. */
static const struct dormouse_hooks *hooks;
static void *hooks_ctx;

/*
 * The bitmaps of snapshot.c may be used by one thread at a time, and only
 * during some of the operations. The mutex keeps threads apart; in the atomic
 * section, where it cannot be taken, there is only one.
 */
static DEFINE_MUTEX(phase_lock);
static enum dormouse_phase phase;

/**
 * dormouse_phase_lock - Find out what the bitmaps may be used for, and use them.
 *
 * Context: Process context. May sleep. To be undone by dormouse_phase_unlock(),
 * until which the phase lasts.
 * Return: The phase.
 */
enum dormouse_phase dormouse_phase_lock(void)
{
	mutex_lock(&phase_lock);
	return phase;
}

/**
 * dormouse_phase_unlock - Undo dormouse_phase_lock().
 *
 * Context: Process context.
 */
void dormouse_phase_unlock(void)
{
	mutex_unlock(&phase_lock);
}

/**
 * dormouse_phase_is_snapshot - Find out if this is the atomic section.
 *
 * Context: Any.
 * Return: True in the snapshot operation.
 */
bool dormouse_phase_is_snapshot(void)
{
	return READ_ONCE(phase) == DORMOUSE_PHASE_SNAPSHOT;
}

static void set_phase(enum dormouse_phase next)
{
	mutex_lock(&phase_lock);
	phase = next;
	mutex_unlock(&phase_lock);
}

/*
 * Keeps all signals from the task that hibernates, SIGKILL too, and returns which
 * were kept before. It is not frozen, so they reach it: one would end waits for a
 * server as if that were lost, and a fatal one keeps threads from being made, those
 * that thaw filesystems or take a mark off later, too. So all hooks but that of the
 * atomic section, which does not wait, hold signals; they wait until a hook is over.
 */
static sigset_t hold_signals(void)
{
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	return before;
}

/* As long as the variable is there, signals are held. */
DEFINE_CLASS(held_signals, sigset_t, sigprocmask(SIG_SETMASK, &_T, NULL), hold_signals(), void)

static int image_begin(void)
{
	CLASS(held_signals, before)();

	return hooks->begin(hooks_ctx);
}

static int image_prepare(void)
{
	CLASS(held_signals, before)();
	int ret;

	set_phase(DORMOUSE_PHASE_PREPARE);
	ret = hooks->prepare(hooks_ctx);
	set_phase(DORMOUSE_PHASE_NONE);
	return ret;
}

static int image_frozen(void)
{
	CLASS(held_signals, before)();

	return hooks->frozen(hooks_ctx);
}

static int image_snapshot(void)
{
	int ret;

	/*
	 * Nobody else runs, and nobody was stopped with the mutex held and the
	 * bitmaps in use: after prepare() they are let alone.
	 */
	WRITE_ONCE(phase, DORMOUSE_PHASE_SNAPSHOT);
	ret = hooks->snapshot(hooks_ctx);
	WRITE_ONCE(phase, DORMOUSE_PHASE_NONE);
	return ret;
}

static int image_write(bool platform_mode)
{
	CLASS(held_signals, before)();
	unsigned int noreclaim;
	int ret;

	set_phase(DORMOUSE_PHASE_WRITE);
	/*
	 * The copies have taken the memory, nothing can be written to swap, and
	 * there is no OOM killer: what is allocated here comes from the pages
	 * that were kept for it, whatever the watermarks say.
	 */
	noreclaim = memalloc_noreclaim_save();
	ret = hooks->write(hooks_ctx, platform_mode);
	memalloc_noreclaim_restore(noreclaim);
	set_phase(DORMOUSE_PHASE_NONE);
	return ret;
}

static void image_discard(bool restored)
{
	CLASS(held_signals, before)();

	/*
	 * The restored kernel was in the middle of snapshot(). The copies are
	 * free by now, so there is memory.
	 */
	set_phase(DORMOUSE_PHASE_NONE);
	hooks->discard(hooks_ctx, restored);
}

static void image_end(int error)
{
	CLASS(held_signals, before)();

	hooks->end(hooks_ctx, error);
}

static int image_check(const char *resume_file, bool reset)
{
	CLASS(held_signals, before)();

	return hooks->check(hooks_ctx, resume_file, reset);
}

static int image_read(bool *platform_mode)
{
	CLASS(held_signals, before)();
	int ret;

	set_phase(DORMOUSE_PHASE_READ);
	ret = hooks->read(hooks_ctx, platform_mode);
	set_phase(DORMOUSE_PHASE_NONE);
	return ret;
}

static void image_close(int error)
{
	CLASS(held_signals, before)();

	hooks->close(hooks_ctx, error);
}

/* The snapshot device asks no image operations, only the notifiers. */
static int image_announced(struct notifier_block *nb, unsigned long event, void *unused)
{
	switch (event) {
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		return notifier_from_errno(hooks->announced(hooks_ctx,
							    event == PM_RESTORE_PREPARE));
	default:
		return NOTIFY_DONE;
	}
}

static struct notifier_block dormouse_notifier = {
	.notifier_call = image_announced,
};

static const struct hibernation_image_ops dormouse_image_ops = {
	.name = "dormouse",
	.begin = image_begin,
	.prepare = image_prepare,
	.frozen = image_frozen,
	.snapshot = image_snapshot,
	.write = image_write,
	.discard = image_discard,
	.end = image_end,
	.check = image_check,
	.read = image_read,
	.close = image_close,
};

/**
 * dormouse_hooks_register - Take over the image of hibernation.
 * @new_hooks: What to call, all of them set.
 * @ctx: Argument of the hooks.
 *
 * Context: Process context. May sleep.
 * Return: 0, or -EBUSY if somebody else has taken it over.
 */
int dormouse_hooks_register(const struct dormouse_hooks *new_hooks, void *ctx)
{
	static DEFINE_MUTEX(lock);
	int ret = -EBUSY;

	mutex_lock(&lock);
	if (!hooks) {
		hooks = new_hooks;
		hooks_ctx = ctx;
		ret = hibernation_set_image_ops(&dormouse_image_ops);
		if (!ret) {
			ret = register_pm_notifier(&dormouse_notifier);
			if (ret)
				hibernation_set_image_ops(NULL);
		}
		if (ret)
			hooks = NULL;
	}
	mutex_unlock(&lock);
	return ret;
}

/**
 * dormouse_hooks_unregister - Undo a successful dormouse_hooks_register().
 *
 * Context: Process context. May sleep; waits for a transition in progress.
 */
void dormouse_hooks_unregister(void)
{
	unregister_pm_notifier(&dormouse_notifier);
	hibernation_set_image_ops(NULL);
	hooks = NULL;
}

/**
 * dormouse_arch_header_save - Get what the architecture needs for a restore.
 * @bytes: Where to put it.
 * @size: Room there.
 *
 * Context: Process context, after the snapshot.
 * Return: Length in bytes, or a negative error code.
 */
s64 dormouse_arch_header_save(void *bytes, size_t size)
{
#ifdef CONFIG_ARCH_HIBERNATION_HEADER
	int ret;

	if (size < MAX_ARCH_HEADER_SIZE)
		return -EOVERFLOW;
	memset(bytes, 0, MAX_ARCH_HEADER_SIZE);
	ret = arch_hibernation_header_save(bytes, MAX_ARCH_HEADER_SIZE);
	return ret ?: MAX_ARCH_HEADER_SIZE;
#else
	return 0;
#endif
}

/**
 * dormouse_arch_header_restore - Hand that back to the architecture.
 * @bytes: What dormouse_arch_header_save() gave, aligned to 8 bytes.
 * @len: Its length.
 *
 * Context: Process context, before the restore. May sleep.
 * Return: 0, or a negative error code if the image is of another machine.
 */
int dormouse_arch_header_restore(const void *bytes, size_t len)
{
#ifdef CONFIG_ARCH_HIBERNATION_HEADER
	u64 header[DIV_ROUND_UP(MAX_ARCH_HEADER_SIZE, sizeof(u64))];

	if (len != MAX_ARCH_HEADER_SIZE)
		return -EINVAL;
	memcpy(header, bytes, len);
	return arch_hibernation_header_restore(header);
#else
	return len ? -EINVAL : 0;
#endif
}

/**
 * dormouse_resume_device - Get the device to resume from.
 * @dev: Its number.
 * @block: Offset of the swap header on it, in pages.
 *
 * Context: Any.
 * Return: False if there is none.
 */
bool dormouse_resume_device(u32 *dev, u64 *block)
{
	*dev = swsusp_resume_device;
	*block = swsusp_resume_block;
	return *dev;
}

/**
 * dormouse_set_resume_device - Set the device to resume from.
 * @dev: Its number.
 * @block: Offset of the swap header on it, in pages.
 *
 * Context: With system_transition_mutex held.
 */
void dormouse_set_resume_device(u32 dev, u64 block)
{
	swsusp_resume_device = dev;
	swsusp_resume_block = block;
}

/**
 * dormouse_pm_test - Get the level of /sys/power/pm_test.
 *
 * Context: With system_transition_mutex held.
 * Return: Its name there, or NULL if transitions are not tests.
 */
const char *dormouse_pm_test(void)
{
	switch (pm_test_level) {
	case TEST_CORE:
		return "core";
	case TEST_CPUS:
		return "processors";
	case TEST_PLATFORM:
		return "platform";
	case TEST_DEVICES:
		return "devices";
	case TEST_FREEZER:
		return "freezer";
	default:
		return NULL;
	}
}
