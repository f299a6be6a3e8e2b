// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: filesystems that hold still, and the devices that they are on.
 */

#include <linux/atomic.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/magic.h>
#include <linux/part_stat.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmstat.h>

#include "shim.h"
#include "shim_block.h"

/* Filesystems that are known by name while they are frozen; others are, too. */
#define SUPERS_MAX 256

/**
 * struct dormouse_fs_freeze - Freezing of all filesystems.
 * @done: Completed when it is over.
 * @state: Who is in charge of what has been frozen, one of the below.
 * @count: Length of @supers that is in use.
 * @supers: Those that shall be frozen, with an active reference to each.
 */
struct dormouse_fs_freeze {
	struct completion done;
	atomic_t state;
	unsigned int count;
	struct super_block *supers[SUPERS_MAX];
};

enum { FREEZING, FROZEN, ABANDONED };

/* Set from the start of a freeze until all that it has frozen is thawed. */
static atomic_t freeze_busy = ATOMIC_INIT(0);

/* Of the thread that hibernates, while filesystems are frozen. */
static unsigned int nofs_before;

/* As filesystems_freeze() chooses them. */
static bool shall_freeze(const struct super_block *sb)
{
	if (sb->s_magic == FUSE_SUPER_MAGIC)
		return false;
	return sb->s_bdev || (sb->s_type->fs_flags & FS_REQUIRES_DEV) ||
	       sb->s_stack_depth;
}

static void collect(struct super_block *sb, void *arg)
{
	struct dormouse_fs_freeze *freeze = arg;

	if (freeze->count < SUPERS_MAX && shall_freeze(sb) &&
	    atomic_inc_not_zero(&sb->s_active)) {
		freeze->supers[freeze->count] = sb;
		/* Pairs with dormouse_fs_not_frozen(). */
		smp_store_release(&freeze->count, freeze->count + 1);
	}
}

static void put_supers(struct dormouse_fs_freeze *freeze)
{
	unsigned int i;

	for (i = 0; i < freeze->count; i++)
		deactivate_super(freeze->supers[i]);
}

static int freeze_main(void *data)
{
	struct dormouse_fs_freeze *freeze = data;

	iterate_supers(collect, freeze);
	filesystems_freeze();

	if (atomic_cmpxchg(&freeze->state, FREEZING, FROZEN) == FREEZING) {
		/* From here on it belongs to the one who waits. */
		complete_all(&freeze->done);
		return 0;
	}
	filesystems_thaw();
	put_supers(freeze);
	kfree(freeze);
	atomic_set(&freeze_busy, 0);
	return 0;
}

/**
 * dormouse_fs_freeze_start - Start to freeze all filesystems on block devices.
 *
 * A thread does it, as nothing can interrupt the wait for a device or for a
 * writer that does not go on.
 *
 * Context: Process context. May sleep.
 * Return: The freeze, for dormouse_fs_freeze_wait() and then either
 * dormouse_fs_freeze_end() or dormouse_fs_freeze_abandon(), or an ERR_PTR():
 * -EBUSY while one that was abandoned is still under way, -ENOMEM.
 */
struct dormouse_fs_freeze *dormouse_fs_freeze_start(void)
{
	struct dormouse_fs_freeze *freeze;
	struct task_struct *task;

	if (atomic_cmpxchg(&freeze_busy, 0, 1))
		return ERR_PTR(-EBUSY);
	freeze = kzalloc(sizeof(*freeze), GFP_KERNEL);
	if (!freeze) {
		atomic_set(&freeze_busy, 0);
		return ERR_PTR(-ENOMEM);
	}
	init_completion(&freeze->done);
	atomic_set(&freeze->state, FREEZING);
	task = kthread_run(freeze_main, freeze, "dormouse_freeze");
	if (IS_ERR(task)) {
		kfree(freeze);
		atomic_set(&freeze_busy, 0);
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
	unsigned int i, count;

	/* Pairs with collect(). */
	count = smp_load_acquire(&freeze->count);
	for (i = 0; i < count; i++) {
		struct super_block *sb = freeze->supers[i];
		unsigned short state = READ_ONCE(sb->s_writers.frozen);

		if (state == SB_FREEZE_COMPLETE || (state == SB_UNFROZEN && !all))
			continue;
		/* Later kernels leave those alone that have no way to be frozen. */
		if (all && !sb->s_op->freeze_fs && !sb->s_op->freeze_super)
			continue;
		strscpy(type, sb->s_type->name, size);
		strscpy(name, sb->s_id, size);
		return true;
	}
	return false;
}

static void release(struct dormouse_fs_freeze *freeze)
{
	wait_for_completion(&freeze->done);
	put_supers(freeze);
	kfree(freeze);
}

/**
 * dormouse_fs_freeze_abandon - Leave a freeze to itself.
 * @freeze: The freeze, which must not be used any more.
 *
 * What it has frozen is thawed, now and when it is over.
 *
 * Context: Process context. May sleep.
 */
void dormouse_fs_freeze_abandon(struct dormouse_fs_freeze *freeze)
{
	if (atomic_cmpxchg(&freeze->state, FREEZING, ABANDONED) == FREEZING) {
		filesystems_thaw();
		return;
	}
	release(freeze);
	filesystems_thaw();
	atomic_set(&freeze_busy, 0);
}

/**
 * dormouse_fs_freeze_end - Finish a freeze that is over.
 * @freeze: The freeze, which must not be used any more.
 *
 * What is frozen stays so until dormouse_fs_thaw(). Until then memory reclaim on
 * behalf of this thread keeps out of filesystems: it would wait for frozen ones.
 *
 * Context: Process context. May sleep.
 */
void dormouse_fs_freeze_end(struct dormouse_fs_freeze *freeze)
{
	release(freeze);
	nofs_before = memalloc_nofs_save();
}

/**
 * dormouse_fs_thaw - Thaw all filesystems that a freeze has frozen.
 *
 * Context: Process context, the thread that called dormouse_fs_freeze_end(). May
 * sleep. Tasks must have been thawed: the threads that some filesystems need for
 * that are frozen as well.
 */
void dormouse_fs_thaw(void)
{
	memalloc_nofs_restore(nofs_before);
	filesystems_thaw();
	atomic_set(&freeze_busy, 0);
}

/**
 * dormouse_dirty_pages - Count what is still to be written to filesystems.
 *
 * Context: Any.
 * Return: Pages, dirty or under writeback.
 */
u64 dormouse_dirty_pages(void)
{
	return global_node_page_state(NR_FILE_DIRTY) +
	       global_node_page_state(NR_WRITEBACK);
}

/* True if a mounted filesystem has claimed the device. */
static bool is_of_filesystem(struct block_device *bdev, const void *btrfs)
{
	bool found;

	mutex_lock(&bdev->bd_holder_lock);
	found = bdev->bd_holder &&
		(bdev->bd_holder_ops == &fs_holder_ops || bdev->bd_holder == btrfs);
	mutex_unlock(&bdev->bd_holder_lock);
	return found;
}

/**
 * dormouse_bdev_mounted - List the block devices of mounted filesystems.
 * @devs: Becomes the list of their numbers.
 * @count: Length of @devs.
 *
 * All devices of each, and that of a journal elsewhere.
 *
 * Context: Process context. May sleep; takes no lock of a filesystem.
 * Return: How many there are, which may be more than @count.
 */
u32 dormouse_bdev_mounted(u32 *devs, u32 count)
{
	/* It claims its devices in the name of the type. */
	struct file_system_type *btrfs = IS_ENABLED(CONFIG_BTRFS_FS) ?
					 get_fs_type("btrfs") : NULL;
	struct class_dev_iter iter;
	struct device *device;
	u32 used = 0;

	class_dev_iter_init(&iter, &block_class, NULL, NULL);
	while ((device = class_dev_iter_next(&iter))) {
		struct block_device *bdev = dev_to_bdev(device);

		if (!is_of_filesystem(bdev, btrfs))
			continue;
		if (used < count)
			devs[used] = bdev->bd_dev;
		used++;
	}
	class_dev_iter_exit(&iter);
	if (btrfs)
		put_filesystem(btrfs);
	return used;
}

/**
 * dormouse_bdev_written - Count what was written to a block device.
 * @dev: The device.
 *
 * Context: Any, but for the sum to be exact nothing may be under way.
 * Return: Sectors written and discarded since boot, as far as the device counts.
 */
u64 dormouse_bdev_written(const struct dormouse_bdev *dev)
{
	return part_stat_read(dev->bdev, sectors[STAT_WRITE]) +
	       part_stat_read(dev->bdev, sectors[STAT_DISCARD]);
}

/**
 * dormouse_bdev_counts - Find out if a block device counts what is written to it.
 * @dev: The device.
 *
 * Context: Any.
 * Return: False if queue/iostats is 0.
 */
bool dormouse_bdev_counts(const struct dormouse_bdev *dev)
{
	return blk_queue_io_stat(bdev_get_queue(dev->bdev));
}
