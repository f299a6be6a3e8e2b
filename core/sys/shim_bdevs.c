// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: which block devices there are, and how much is written to them.
 */

#include <linux/atomic.h>
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/part_stat.h>
#include <linux/string.h>

#include "shim.h"
#include "shim_block.h"

/* Calls @f for each block device, partitions too. */
static void each_bdev(void (*f)(struct block_device *bdev, void *arg), void *arg)
{
	struct class_dev_iter iter;
	struct device *device;

	class_dev_iter_init(&iter, &block_class, NULL, NULL);
	while ((device = class_dev_iter_next(&iter)))
		f(dev_to_bdev(device), arg);
	class_dev_iter_exit(&iter);
}

struct numbers {
	u32 *devs;
	u32 count;
	u32 used;
};

static void add_number(struct block_device *bdev, void *arg)
{
	struct numbers *numbers = arg;

	if (numbers->used < numbers->count)
		numbers->devs[numbers->used] = bdev->bd_dev;
	numbers->used++;
}

static void add_used(struct block_device *bdev, void *arg)
{
	if (bdev_nr_sectors(bdev) && !(bdev->bd_disk->flags & GENHD_FL_HIDDEN))
		add_number(bdev, arg);
}

/**
 * dormouse_bdev_list - List the block devices that have something in them.
 * @devs: Becomes the list of their numbers.
 * @count: Length of @devs.
 *
 * Context: Process context. May sleep.
 * Return: How many there are, which may be more than @count.
 */
u32 dormouse_bdev_list(u32 *devs, u32 count)
{
	struct numbers numbers = { .devs = devs, .count = count };

	each_bdev(add_used, &numbers);
	return numbers.used;
}

struct claim {
	const struct block_device *bdev;
	const void *holder;
	bool found;
};

static void match_claim(struct super_block *sb, void *arg)
{
	struct claim *claim = arg;

	if (sb->s_bdev == claim->bdev || sb == claim->holder)
		claim->found = true;
}

/* True if a mounted filesystem has claimed the device. */
static bool is_of_filesystem(struct block_device *bdev, const void *btrfs)
{
	struct claim claim = { .bdev = bdev };

	mutex_lock(&bdev->bd_holder_lock);
	claim.holder = bdev->bd_holder;
	claim.found = claim.holder &&
		      (bdev->bd_holder_ops == &fs_holder_ops || claim.holder == btrfs);
	mutex_unlock(&bdev->bd_holder_lock);
	/* Some have holder operations of their own, or none for further devices. */
	if (claim.holder && !claim.found)
		filesystems_walk(match_claim, &claim);
	return claim.found;
}

struct mounted {
	void (*f)(struct block_device *bdev, void *arg);
	void *arg;
	const void *btrfs;
};

static void visit_mounted(struct block_device *bdev, void *arg)
{
	const struct mounted *mounted = arg;

	if (is_of_filesystem(bdev, mounted->btrfs))
		mounted->f(bdev, mounted->arg);
}

/**
 * dormouse_each_mounted - Visit the block devices of mounted filesystems.
 * @f: Called for each of them.
 * @arg: Argument to pass to it.
 *
 * All devices of each, and that of a journal elsewhere.
 *
 * Context: Process context. May sleep; takes no lock of a filesystem.
 */
void dormouse_each_mounted(void (*f)(struct block_device *bdev, void *arg), void *arg)
{
	/* It claims its devices in the name of the type. */
	struct file_system_type *btrfs = IS_ENABLED(CONFIG_BTRFS_FS) ?
					 get_fs_type("btrfs") : NULL;
	struct mounted mounted = { .f = f, .arg = arg, .btrfs = btrfs };

	each_bdev(visit_mounted, &mounted);
	if (btrfs)
		put_filesystem(btrfs);
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
	struct numbers numbers = { .devs = devs, .count = count };

	dormouse_each_mounted(add_number, &numbers);
	return numbers.used;
}

/* What was written here to devices that somebody counts. */
static struct {
	u32 dev;
	atomic64_t sectors;
} counted[DORMOUSE_COUNTED_MAX];
static unsigned int counted_used;

/**
 * dormouse_count_own - Count what is written here to some devices.
 * @devs: Their numbers, in place of those that were counted before.
 * @count: How many there are, at most DORMOUSE_COUNTED_MAX.
 *
 * Context: Process context; no write may be under way.
 */
void dormouse_count_own(const u32 *devs, u32 count)
{
	unsigned int i;

	count = min_t(u32, count, DORMOUSE_COUNTED_MAX);
	WRITE_ONCE(counted_used, 0);
	for (i = 0; i < count; i++) {
		counted[i].dev = devs[i];
		atomic64_set(&counted[i].sectors, 0);
	}
	/* Pairs with dormouse_own_written() and dormouse_count_write(): they see the devices. */
	smp_store_release(&counted_used, count);
}

/**
 * dormouse_own_written - Tell how much was written here to a device.
 * @dev: Its number.
 *
 * Context: Any.
 * Return: Sectors since dormouse_count_own(), begun or complete; 0 for a device
 * that is not counted.
 */
u64 dormouse_own_written(u32 dev)
{
	/* Pairs with dormouse_count_own(). */
	unsigned int i, count = smp_load_acquire(&counted_used);

	for (i = 0; i < count; i++)
		if (counted[i].dev == dev)
			return atomic64_read(&counted[i].sectors);
	return 0;
}

/**
 * dormouse_count_write - Count a write as ours.
 * @bdev: Where it goes.
 * @len: Its length in bytes.
 *
 * Context: Any.
 */
void dormouse_count_write(const struct block_device *bdev, size_t len)
{
	/* Pairs with dormouse_count_own(). */
	unsigned int i, count = smp_load_acquire(&counted_used);

	for (i = 0; i < count; i++)
		if (counted[i].dev == bdev->bd_dev)
			atomic64_add(len >> SECTOR_SHIFT, &counted[i].sectors);
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
 * Return: False if queue/iostats is 0, or if it counts whole disks only.
 */
bool dormouse_bdev_counts(const struct dormouse_bdev *dev)
{
	struct block_device *bdev = dev->bdev;

	/* With several paths to an NVMe disk, each counts for the disk. */
	if (bdev_is_partition(bdev) && !queue_is_mq(bdev_get_queue(bdev)) &&
	    !strncmp(bdev->bd_disk->disk_name, "nvme", 4))
		return false;
	return blk_queue_io_stat(bdev_get_queue(bdev));
}
