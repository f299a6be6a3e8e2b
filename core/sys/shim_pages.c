// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: which pages belong in an image, and copies of them.
 */

#include <linux/bug.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nmi.h>
#include <linux/string.h>
#include <linux/suspend.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include "shim.h"
#include "shim_pages.h"

/* Page frames between two calls of touch_nmi_watchdog() or cond_resched(). */
#define CHECK_EVERY	(32 * 1024)

/*
 * Finds the page frames that populated zones span, in ascending order and each
 * of them once, even where zones overlap: the first range at or after @from.
 */
static bool next_range(unsigned long from, unsigned long *start, unsigned long *end)
{
	struct zone *zone;

	*start = ULONG_MAX;
	for_each_populated_zone(zone) {
		unsigned long first = max(from, zone->zone_start_pfn);
		unsigned long last = zone_end_pfn(zone);

		if (first >= last || first > *start)
			continue;
		if (first < *start)
			*end = last;
		*start = first;
		*end = max(*end, last);
	}
	return *start != ULONG_MAX;
}

/**
 * dormouse_count_saveable - Count the pages that an image would have now.
 *
 * Context: Process context, in the prepare operation. May sleep.
 * Return: The number, or -EPERM at any other time.
 */
s64 dormouse_count_saveable(void)
{
	unsigned long start, end, pfn = 0;
	s64 count = 0;

	if (dormouse_phase_lock() != DORMOUSE_PHASE_PREPARE) {
		dormouse_phase_unlock();
		return -EPERM;
	}
	drain_all_pages(NULL);
	hibernation_mark_free_pages();
	while (next_range(pfn, &start, &end)) {
		for (pfn = start; pfn < end; pfn++) {
			if (hibernation_page_saveable(pfn))
				count++;
			if (!(pfn % CHECK_EVERY))
				cond_resched();
		}
	}
	dormouse_phase_unlock();
	return count;
}

/* Pages of a zone that only emergencies get, whatever zone they would like. */
static u64 kept_back(const struct zone *zone)
{
	u64 pages = zone->_watermark[WMARK_MIN];
	long most = 0;
	int i;

	for (i = 0; i < MAX_NR_ZONES; i++)
		most = max(most, zone->lowmem_reserve[i]);
	return pages + most;
}

/**
 * dormouse_free_pages - Count free page frames.
 * @free: Becomes their numbers.
 *
 * Context: Any.
 */
void dormouse_free_pages(struct dormouse_free_pages *free)
{
	struct zone *zone;

	memset(free, 0, sizeof(*free));
	for_each_populated_zone(zone) {
		u64 pages = zone_page_state(zone, NR_FREE_PAGES);
		u64 kept = min(kept_back(zone), pages);
		u64 cma = zone_page_state(zone, NR_FREE_CMA_PAGES);

		free->all += pages;
		free->kept_back += kept;
		if (zone_idx(zone) == ZONE_MOVABLE)
			cma = pages;
		free->movable += min(cma, pages - kept);
	}
}

/**
 * dormouse_shrink - Make the kernel give up memory that it can do without.
 * @pages: How many page frames to try to get.
 *
 * Context: Process context, before kernel threads are frozen. May sleep.
 * Return: How many it got.
 */
u64 dormouse_shrink(u64 pages)
{
	u64 got = shrink_all_memory(pages);

	/* What lies on per-CPU lists does not count as free. */
	drain_all_pages(NULL);
	return got;
}

/**
 * dormouse_copy_alloc - Allocate page frames that stay out of the image.
 * @order: Binary logarithm of their number.
 * @movable: True if they may be where only memory is that can be moved: they
 *	are not moved, but freed before anybody can wait for that.
 *
 * Single pages are got from others if need be, larger blocks are not.
 *
 * Context: Process context, in the prepare operation. May sleep.
 * Return: Their address or NULL. They are freed one by one.
 */
void *dormouse_copy_alloc(u32 order, bool movable)
{
	gfp_t gfp = DORMOUSE_GFP_BLOCK;
	struct page *page = NULL;

	/*
	 * The plan leaves the watermarks as they are. __GFP_HIGH is for those
	 * that are raised for a while, as soon as memory is fragmented.
	 */
	if (!order)
		gfp = GFP_KERNEL | __GFP_HIGH | __GFP_NORETRY | __GFP_NOWARN;
	if (movable)
		gfp |= DORMOUSE_GFP_ANYWHERE;
	if (dormouse_phase_lock() == DORMOUSE_PHASE_PREPARE)
		page = hibernation_alloc_pages(gfp, order);
	dormouse_phase_unlock();
	return page ? page_address(page) : NULL;
}

/**
 * dormouse_copy_free - Free a page frame of dormouse_copy_alloc().
 * @page: Its address.
 *
 * Not but in the prepare and write operations: once the former has succeeded,
 * the kernel frees what is left of them by itself, before it calls discard. What
 * a prepare operation that fails does not free is lost.
 *
 * Context: Process context. May sleep.
 */
void dormouse_copy_free(void *page)
{
	enum dormouse_phase phase = dormouse_phase_lock();

	if (!WARN_ON_ONCE(phase != DORMOUSE_PHASE_PREPARE && phase != DORMOUSE_PHASE_WRITE))
		hibernation_free_page(virt_to_page(page));
	dormouse_phase_unlock();
}

/**
 * dormouse_snapshot - Copy all pages that belong in the image.
 * @entries: Becomes the list of these pages, in ascending order.
 * @entry_count: Length of @entries.
 * @copies: Addresses of page frames for the copies, used from the first on.
 * @copy_count: Length of @copies.
 * @counts: Becomes how many of both were used.
 *
 * A page that one word fills needs no copy. Everything that changes from here
 * on until the restore, such as the stack of the caller, is in the image as it
 * is now.
 *
 * Context: In the snapshot operation. Neither allocates nor sleeps.
 * Return: 0, -ENOMEM if either list is too short, or -EPERM at any other time.
 */
int dormouse_snapshot(struct dormouse_entry *entries, u64 entry_count,
		      void *const *copies, u64 copy_count,
		      struct dormouse_counts *counts)
{
	unsigned long start, end, pfn = 0;
	u64 entry = 0, copy = 0;

	if (!dormouse_phase_is_snapshot())
		return -EPERM;

	/* Pages on per-CPU lists would count as used. */
	drain_local_pages(NULL);
	hibernation_mark_free_pages();
	while (next_range(pfn, &start, &end)) {
		for (pfn = start; pfn < end; pfn++) {
			if (!(pfn % CHECK_EVERY))
				touch_nmi_watchdog();
			if (!hibernation_page_saveable(pfn))
				continue;
			/* Even for a page of one word there must be room to find out. */
			if (entry == entry_count || copy == copy_count)
				return -ENOMEM;
			if (hibernation_copy_page(copies[copy], pfn_to_page(pfn))) {
				entries[entry].pfn = pfn | DORMOUSE_ENTRY_FILL;
				entries[entry].word = *(u64 *)copies[copy];
			} else {
				entries[entry].pfn = pfn;
				entries[entry].word = copy++;
			}
			entry++;
		}
	}
	counts->image_pages = entry;
	counts->data_pages = copy;
	return 0;
}
