// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: filesystems that are frozen while an image is written.
 */

#include <linux/atomic.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/part_stat.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmstat.h>

#include "shim.h"
#include "shim_block.h"
#include "shim_thread.h"

static void add_written(struct block_device *bdev, void *arg)
{
	u64 *sum = arg;

	*sum += part_stat_read(bdev, sectors[STAT_WRITE]) +
		part_stat_read(bdev, sectors[STAT_DISCARD]);
}

/**
 * struct dormouse_fs_freeze - Freezing of all filesystems, and the thaw after it.
 * @done: Completed when the freeze is over.
 * @state: Who is in charge of what has been frozen, one of the below.
 * @syncing: The device that is written to after that, or 0.
 * @count: Length of @supers that is in use.
 * @room: Length of @supers.
 * @supers: Those that shall be frozen, with an active reference to each, or NULL
 *	for one that has been thawed.
 */
struct dormouse_fs_freeze {
	struct completion done;
	atomic_t state;
	dev_t syncing;
	unsigned int count;
	unsigned int room;
	struct super_block *supers[] __counted_by(room);
};

enum { FREEZING, FROZEN, ABANDONED };

/**
 * struct thaw - Threads that thaw what a freeze has frozen.
 * @users: They, and the one who waits for them.
 * @walked: Completed by each that has been through all filesystems.
 */
struct thaw {
	refcount_t users;
	struct completion walked;
};

/*
 * How long to wait for the first thread, and for each other one, before the next
 * thaws the rest, and how many there are at most: as many filesystems may be on
 * disks that stand still without holding up others.
 */
#define THAW_MS		1000
#define THAW_NEXT_MS	100
#define THAW_THREADS	32

/* Threads that freeze or thaw, and what has been frozen and not thawed. */
static atomic_t freeze_users = ATOMIC_INIT(0);

/* Of the thread that hibernates, while filesystems are frozen. */
static unsigned int nofs_before;

static void count_super(struct super_block *sb, void *arg)
{
	unsigned int *count = arg;

	(*count)++;
}

static void collect(struct super_block *sb, void *arg)
{
	struct dormouse_fs_freeze *freeze = arg;

	if (freeze->count < freeze->room && atomic_inc_not_zero(&sb->s_active)) {
		freeze->supers[freeze->count] = sb;
		/* Pairs with find_super(). */
		smp_store_release(&freeze->count, freeze->count + 1);
	}
}

/* True for one that a freeze has frozen, until its thaw is over. */
static bool is_held(const struct dormouse_fs_freeze *freeze, struct super_block *sb)
{
	return READ_ONCE(sb->s_writers.freeze_power);
}

/* Gives up the references to those that are not frozen, or to all. */
static void put_supers(struct dormouse_fs_freeze *freeze, bool all)
{
	unsigned int i;

	for (i = 0; i < freeze->count; i++) {
		struct super_block *sb = READ_ONCE(freeze->supers[i]);

		if (!sb || (!all && is_held(freeze, sb)))
			continue;
		/* Two threads may do this to a freeze that is abandoned. */
		if (xchg(&freeze->supers[i], NULL))
			deactivate_super(sb);
	}
}

static void put_thaw(struct thaw *thaw)
{
	if (refcount_dec_and_test(&thaw->users))
		kfree(thaw);
}

static int thaw_main(void *data)
{
	struct thaw *thaw = data;

	filesystems_thaw();
	complete(&thaw->walked);
	put_thaw(thaw);
	atomic_dec(&freeze_users);
	return 0;
}

/* Starts another thread; returns false if there is none. */
static bool start_thaw(struct thaw *thaw)
{
	struct task_struct *task;

	refcount_inc(&thaw->users);
	atomic_inc(&freeze_users);
	task = dormouse_run(thaw_main, thaw, "dormouse_thaw");
	if (!IS_ERR(task))
		return true;
	atomic_dec(&freeze_users);
	put_thaw(thaw);
	return false;
}

/*
 * Thaws all but those whose devices do not answer: some filesystems write when
 * they are thawed. Each of these keeps a thread, which goes on when it does.
 */
static void thaw_all(void)
{
	struct thaw *thaw = kzalloc(sizeof(*thaw), GFP_NOIO);
	unsigned int i;

	if (thaw) {
		refcount_set(&thaw->users, 1);
		init_completion(&thaw->walked);
	}
	for (i = 0; i < THAW_THREADS; i++) {
		u32 ms = i ? THAW_NEXT_MS : THAW_MS;

		if (!thaw || !start_thaw(thaw)) {
			filesystems_thaw();
			break;
		}
		if (wait_for_completion_timeout(&thaw->walked, msecs_to_jiffies(ms)))
			break;
	}
	if (thaw)
		put_thaw(thaw);
}

static void sync_one(struct block_device *bdev, void *arg)
{
	struct dormouse_fs_freeze *freeze = arg;

	WRITE_ONCE(freeze->syncing, bdev->bd_dev);
	/* Who reads it finds out about errors. */
	sync_blockdev(bdev);
	WRITE_ONCE(freeze->syncing, 0);
}

static int freeze_main(void *data)
{
	struct dormouse_fs_freeze *freeze = data;

	filesystems_walk(collect, freeze);
	if (atomic_read(&freeze->state) == FREEZING)
		filesystems_freeze();
	/* What tasks have written to their devices, such as those that serve FUSE. */
	if (atomic_read(&freeze->state) == FREEZING)
		dormouse_each_mounted(sync_one, freeze);

	if (atomic_cmpxchg(&freeze->state, FREEZING, FROZEN) == FREEZING) {
		/* From here on it belongs to the one who waits. */
		complete_all(&freeze->done);
		return 0;
	}
	filesystems_thaw();
	put_supers(freeze, true);
	kvfree(freeze);
	atomic_dec(&freeze_users);
	return 0;
}

/**
 * dormouse_fs_busy - Find out if an earlier freeze or thaw is under way.
 *
 * Context: Any.
 * Return: True while one of them waits for a device.
 */
bool dormouse_fs_busy(void)
{
	return atomic_read(&freeze_users);
}

/**
 * dormouse_fs_freeze_start - Start to freeze all filesystems on block devices.
 *
 * A thread does it, as nothing can interrupt the wait for a device or for a
 * writer that does not go on.
 *
 * Context: Process context, with user tasks frozen. May sleep.
 * Return: The freeze, for dormouse_fs_freeze_wait() and then either
 * dormouse_fs_freeze_end() or dormouse_fs_freeze_abandon(), or an ERR_PTR():
 * -EBUSY while one that was abandoned is still under way, -ENOMEM.
 */
struct dormouse_fs_freeze *dormouse_fs_freeze_start(void)
{
	struct dormouse_fs_freeze *freeze;
	struct task_struct *task;
	unsigned int room = 0;

	if (atomic_cmpxchg(&freeze_users, 0, 1))
		return ERR_PTR(-EBUSY);
	filesystems_walk(count_super, &room);
	freeze = kvzalloc(struct_size(freeze, supers, room), GFP_KERNEL);
	if (!freeze) {
		atomic_dec(&freeze_users);
		return ERR_PTR(-ENOMEM);
	}
	freeze->room = room;
	init_completion(&freeze->done);
	atomic_set(&freeze->state, FREEZING);
	task = dormouse_run(freeze_main, freeze, "dormouse_freeze");
	if (IS_ERR(task)) {
		kvfree(freeze);
		atomic_dec(&freeze_users);
		return ERR_CAST(task);
	}
	return freeze;
}

/**
 * dormouse_fs_freeze_wait - Wait for a freeze.
 * @freeze: The freeze.
 * @ms: How long, in milliseconds.
 *
 * Context: Process context. May sleep.
 * Return: True if all filesystems that can be frozen are.
 */
bool dormouse_fs_freeze_wait(struct dormouse_fs_freeze *freeze, u32 ms)
{
	return wait_for_completion_timeout(&freeze->done, msecs_to_jiffies(ms));
}

static bool is_frozen(struct super_block *sb)
{
	return READ_ONCE(sb->s_writers.frozen) == SB_FREEZE_COMPLETE;
}

static bool is_being_frozen(const struct dormouse_fs_freeze *freeze, struct super_block *sb)
{
	return READ_ONCE(sb->s_writers.frozen) != SB_UNFROZEN && !is_frozen(sb);
}

/*
 * A freeze takes the lock before it begins. Who writes in the background has it
 * as long as the device takes.
 */
static bool is_waited_for(const struct dormouse_fs_freeze *freeze, struct super_block *sb)
{
	return !is_frozen(sb) && rwsem_is_contended(&sb->s_umount);
}

/* Last of all its device is written to, past the filesystem. */
static bool is_synced(const struct dormouse_fs_freeze *freeze, struct super_block *sb)
{
	return sb->s_bdev && sb->s_bdev->bd_dev == READ_ONCE(freeze->syncing);
}

static bool is_not_frozen(const struct dormouse_fs_freeze *freeze, struct super_block *sb)
{
	return !is_frozen(sb);
}

/* Returns the first filesystem that is as @is says, or NULL. */
static struct super_block *find_super(struct dormouse_fs_freeze *freeze,
				      bool (*is)(const struct dormouse_fs_freeze *freeze,
						 struct super_block *sb))
{
	unsigned int i, count;

	/* Pairs with collect(). */
	count = smp_load_acquire(&freeze->count);
	for (i = 0; i < count; i++)
		if (freeze->supers[i] && is(freeze, freeze->supers[i]))
			return freeze->supers[i];
	return NULL;
}

/* Returns the filesystem that a freeze is waiting for, or NULL. */
static struct super_block *find_awaited(struct dormouse_fs_freeze *freeze)
{
	return find_super(freeze, is_being_frozen) ?: find_super(freeze, is_waited_for) ?:
	       find_super(freeze, is_synced);
}

static bool name_super(const struct super_block *sb, char *type, char *name, size_t size)
{
	if (!sb)
		return false;
	strscpy(type, sb->s_type->name, size);
	strscpy(name, sb->s_id, size);
	return true;
}

/**
 * dormouse_fs_not_frozen - Name a filesystem that is not frozen.
 * @freeze: The freeze.
 * @all: True for any of them, false for one that a freeze is waiting for.
 * @type: Where to put the name of its type, NUL-terminated.
 * @name: Where to put its own name, most often that of its device.
 * @size: Room at @type, and at @name.
 *
 * Context: Any.
 * Return: False if there is none.
 */
bool dormouse_fs_not_frozen(struct dormouse_fs_freeze *freeze, bool all, char *type,
			    char *name, size_t size)
{
	struct super_block *sb = all ? find_super(freeze, is_not_frozen) : find_awaited(freeze);

	return name_super(sb, type, name, size);
}

/**
 * dormouse_fs_freeze_progress - Tell how far a freeze has come.
 * @freeze: The freeze.
 * @progress: Becomes what has been done.
 *
 * Context: Process context. May sleep.
 */
void dormouse_fs_freeze_progress(struct dormouse_fs_freeze *freeze,
				 struct dormouse_fs_progress *progress)
{
	struct super_block *sb = find_awaited(freeze);
	/* Pairs with collect(). */
	unsigned int i, count = smp_load_acquire(&freeze->count);

	progress->frozen = 0;
	for (i = 0; i < count; i++)
		progress->frozen += is_frozen(freeze->supers[i]);
	progress->dirty = global_node_page_state(NR_FILE_DIRTY) +
			  global_node_page_state(NR_WRITEBACK);
	/* Those without one device are on several, or on another filesystem. */
	progress->written = 0;
	if (sb && sb->s_bdev)
		add_written(sb->s_bdev, &progress->written);
	else
		dormouse_each_mounted(add_written, &progress->written);
}

/**
 * dormouse_fs_freeze_abandon - Leave a freeze to itself.
 * @freeze: The freeze, which must not be used any more.
 *
 * What it has frozen is thawed, now and when it is over. It freezes no further
 * filesystem.
 *
 * Context: Process context. May sleep.
 */
void dormouse_fs_freeze_abandon(struct dormouse_fs_freeze *freeze)
{
	/* What is unmounted from now on has to be shut down, whatever is stuck. */
	put_supers(freeze, true);
	if (atomic_cmpxchg(&freeze->state, FREEZING, ABANDONED) == FREEZING) {
		thaw_all();
		return;
	}
	/* It is over but for these few instructions of its thread. */
	wait_for_completion(&freeze->done);
	thaw_all();
	kvfree(freeze);
	atomic_dec(&freeze_users);
}

/**
 * dormouse_fs_freeze_end - Finish a freeze that is over.
 * @freeze: The freeze, after dormouse_fs_freeze_wait() has returned true. It is for
 *	dormouse_fs_thaw() only from then on.
 *
 * What is frozen stays so until then. Until then memory reclaim on behalf of this
 * thread keeps out of filesystems: it would wait for frozen ones.
 *
 * Context: Process context. May sleep.
 */
void dormouse_fs_freeze_end(struct dormouse_fs_freeze *freeze)
{
	nofs_before = memalloc_nofs_save();
}

/**
 * dormouse_fs_thaw - Thaw all filesystems that a freeze has frozen.
 * @freeze: The freeze, which must not be used any more.
 * @ms: How long to wait for the last of them, in milliseconds.
 * @type: Where to put the name of the type of one that is still frozen.
 * @name: Where to put its own name.
 * @size: Room at @type, and at @name.
 *
 * Context: Process context, the thread that called dormouse_fs_freeze_end(). May
 * sleep. Tasks must have been thawed: the threads that some filesystems need for
 * that are frozen as well.
 * Return: True if one is still frozen, as its device does not answer. It is
 * thawed when the device does.
 */
bool dormouse_fs_thaw(struct dormouse_fs_freeze *freeze, u32 ms, char *type, char *name,
		      size_t size)
{
	bool left;

	thaw_all();
	memalloc_nofs_restore(nofs_before);
	/* Who unmounts one has to see it go. */
	put_supers(freeze, false);
	while ((left = name_super(find_super(freeze, is_held), type, name, size)) && ms) {
		u32 step = min_t(u32, ms, 100);

		msleep(step);
		ms -= step;
		put_supers(freeze, false);
	}
	put_supers(freeze, true);
	kvfree(freeze);
	atomic_dec(&freeze_users);
	return left;
}
