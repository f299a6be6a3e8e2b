// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: swap areas, and slots in them.
 */

#include <linux/blkdev.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/rbtree.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "shim.h"
#include "shim_block.h"

/*
 * Takes a reference that keeps the swap area from going away, to be dropped by
 * put_swap_device(). Slot 1 stands for the area: an entry of all zeros is none.
 */
static struct swap_info_struct *get_area(u32 type)
{
	struct swap_info_struct *si;
	swp_entry_t entry;

	if (type >= MAX_SWAPFILES)
		return NULL;
	entry = swp_entry(type, 1);
	/* get_swap_device() complains about areas that never existed. */
	if (!swp_swap_info(entry))
		return NULL;
	si = get_swap_device(entry);
	if (!si)
		return NULL;
	/* An area that is about to be given up, or one behind a filesystem. */
	if (!(si->flags & SWP_WRITEOK) || (si->flags & SWP_FS_OPS) || !si->bdev) {
		put_swap_device(si);
		return NULL;
	}
	return si;
}

/**
 * dormouse_swap_types - Count the numbers that swap areas may have.
 *
 * Context: Any.
 * Return: The number above all of them.
 */
u32 dormouse_swap_types(void)
{
	return MAX_SWAPFILES;
}

/**
 * dormouse_swap_area - Describe a swap area.
 * @type: Its number; any value is allowed.
 * @area: Becomes the description.
 *
 * Context: Process context. May sleep.
 * Return: 0, or -ENOENT if there is none that can be used.
 */
int dormouse_swap_area(u32 type, struct dormouse_swap_area *area)
{
	struct swap_info_struct *si = get_area(type);
	char *name;

	if (!si)
		return -ENOENT;

	memset(area, 0, sizeof(*area));
	area->priority = si->prio;
	area->dev = si->bdev->bd_dev;
	area->pages = count_swap_pages(type, 0);
	area->free_pages = count_swap_pages(type, 1);
	area->header_block = swapdev_block(type, 0);
	area->is_file = !(si->flags & SWP_BLKDEV);
	/* Disks of drivers have a device above them. */
	area->is_virtual = !disk_to_dev(si->bdev->bd_disk)->parent;
	name = file_path(si->swap_file, area->name, sizeof(area->name));
	if (IS_ERR(name))
		snprintf(area->name, sizeof(area->name), "%pg", si->bdev);
	else
		memmove(area->name, name, strlen(name) + 1);
	put_swap_device(si);
	return 0;
}

/**
 * dormouse_swap_free_runs - Count the runs that free slots of a swap area are in.
 * @type: Its number; any value is allowed.
 *
 * Others may take and free slots meanwhile. A run of slots that is in pieces on
 * the device counts as many times.
 *
 * Context: Process context. May sleep.
 * Return: How many, or none if there is no such area.
 */
u64 dormouse_swap_free_runs(u32 type)
{
	struct swap_info_struct *si = get_area(type);
	bool was_free = false;
	unsigned int slot;
	struct rb_node *rb;
	u64 runs = 0;

	if (!si)
		return 0;
	for (slot = 1; slot < si->max; slot++) {
		bool is_free = !READ_ONCE(si->swap_map[slot]);

		runs += is_free && !was_free;
		was_free = is_free;
		if (!(slot % SZ_64K))
			cond_resched();
	}
	for (rb = rb_first(&si->swap_extent_root); rb; rb = rb_next(rb))
		runs++;
	put_swap_device(si);
	return runs;
}

/**
 * dormouse_swap_bdev - Use the block device of a swap area.
 * @type: Number of the area; any value is allowed.
 *
 * Context: Process context. May sleep.
 * Return: The device, to be closed, or an ERR_PTR(); -ENOENT if there is no
 * such area.
 */
struct dormouse_bdev *dormouse_swap_bdev(u32 type)
{
	struct swap_info_struct *si = get_area(type);
	struct dormouse_bdev *dev;

	if (!si)
		return ERR_PTR(-ENOENT);
	dev = dormouse_bdev_borrow(si->swap_file, si->bdev);
	put_swap_device(si);
	return dev;
}

/**
 * dormouse_swap_alloc - Reserve slots of a swap area.
 * @type: Number of the area; any value is allowed.
 * @want: How many.
 * @extents: Becomes the list of slots.
 * @extent_count: Length of @extents.
 *
 * A swap area that has reserved slots cannot be given up.
 *
 * Context: Process context. May sleep.
 * Return: How many elements of @extents were used, none if the area is full, or
 * a negative error code: -ENOENT if there is no such area.
 */
s64 dormouse_swap_alloc(u32 type, u64 want, struct dormouse_swap_extent *extents,
			u64 extent_count)
{
	struct swap_info_struct *si = get_area(type);
	u64 used = 0;

	if (!si)
		return -ENOENT;

	while (want) {
		struct dormouse_swap_extent *last = used ? &extents[used - 1] : NULL;
		swp_entry_t entry = get_swap_page_of_type(type);
		u64 slot, block;

		if (!entry.val)
			break;
		slot = swp_offset(entry);
		block = swapdev_block(type, slot);
		/* No slot is where the first block of a device is. */
		if (!block) {
			swap_free(entry);
			break;
		}
		if (last && slot == last->slot + last->count &&
		    block == last->block + last->count) {
			last->count++;
		} else if (used < extent_count) {
			extents[used].slot = slot;
			extents[used].block = block;
			extents[used].count = 1;
			used++;
		} else {
			swap_free(entry);
			break;
		}
		want--;
		cond_resched();
	}
	put_swap_device(si);
	return used;
}

/**
 * dormouse_swap_free - Give back slots of dormouse_swap_alloc().
 * @type: Number of the swap area.
 * @slot: First slot.
 * @count: How many.
 *
 * Context: Process context. May sleep.
 */
void dormouse_swap_free(u32 type, u64 slot, u64 count)
{
	while (count) {
		int part = min_t(u64, count, 1024);

		swap_free_nr(swp_entry(type, slot), part);
		slot += part;
		count -= part;
		cond_resched();
	}
}
