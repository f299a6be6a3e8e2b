// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: page frames to load an image into.
 *
 * A page of the image can be loaded into its own page frame if that is free in
 * this kernel. Otherwise it is loaded into a page frame that no page of the
 * image is going to, and moved from there by the architecture's code.
 */

#include <linux/bitmap.h>
#include <linux/cacheflush.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/suspend.h>

#include "shim.h"
#include "shim_pages.h"

#define PBES_PER_PAGE	(PAGE_SIZE / sizeof(struct pbe))

/*
 * Page frames to load into: first what is free, in blocks; then what the page
 * cache can do without. Everything is frozen, also what filesystems and some
 * disks need for I/O, so nothing is written for that. At last what is kept for
 * emergencies, of which this is one.
 */
#define BULK_GFP	(DORMOUSE_GFP_BLOCK | DORMOUSE_GFP_ANYWHERE)
#define CACHE_GFP	(GFP_NOIO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN | DORMOUSE_GFP_ANYWHERE)
#define LAST_GFP	(GFP_ATOMIC | __GFP_NOWARN | DORMOUSE_GFP_ANYWHERE)
/* For the architecture's own use, wherever it wants its memory to be. */
#define SAFE_GFP	(GFP_ATOMIC | __GFP_NOWARN)

/**
 * struct dormouse_restore - An image that is being loaded.
 * @image: Bit for each page frame of the image that has no slot yet.
 * @pfns: Length of @image.
 * @slots: Address to load each page to, in the order of their placing. What has
 *	not been placed has room for @safe.
 * @count: Length of @slots.
 * @added: Pages that were announced.
 * @placed: Slots that are filled in.
 * @in_place: Pages that are loaded into their own page frames.
 * @safe: First of the page frames outside of the image in @slots, which go to
 *	its end. Each page that is placed uses one that was got for it, so there
 *	are always at least as many elements in front of them as are placed.
 * @pbes: What the architecture has to move.
 * @pbe: Next unused element in the current page of such elements.
 * @pbes_left: How many of those there are.
 */
struct dormouse_restore {
	unsigned long *image;
	unsigned long pfns;
	void **slots;
	u64 count;
	u64 added;
	u64 placed;
	u64 in_place;
	u64 safe;
	struct pbe *pbes;
	struct pbe *pbe;
	unsigned int pbes_left;
};

static unsigned long end_of_memory(void)
{
	unsigned long end = 0;
	struct zone *zone;

	for_each_populated_zone(zone)
		end = max(end, zone_end_pfn(zone));
	return end;
}

/**
 * dormouse_restore_new - Begin to load an image.
 * @slots: How many pages it has.
 *
 * Context: Process context. May sleep.
 * Return: The restore or an ERR_PTR(): -EINVAL, -ENOMEM.
 */
struct dormouse_restore *dormouse_restore_new(u64 slots)
{
	unsigned long pfns = end_of_memory();
	struct dormouse_restore *restore;

	if (!slots || slots > pfns)
		return ERR_PTR(-EINVAL);
	restore = kzalloc(sizeof(*restore), GFP_KERNEL);
	if (!restore)
		return ERR_PTR(-ENOMEM);
	restore->pfns = pfns;
	restore->count = slots;
	restore->safe = slots;
	restore->image = dormouse_zalloc(BITS_TO_LONGS(pfns) * sizeof(long));
	restore->slots = dormouse_zalloc(array_size(slots, sizeof(*restore->slots)));
	if (!restore->image || !restore->slots) {
		dormouse_restore_free(restore);
		return ERR_PTR(-ENOMEM);
	}
	return restore;
}

/**
 * dormouse_restore_free - Forget about an image.
 * @restore: The restore.
 *
 * The page frames remain: they are freed by the kernel, which does that itself
 * when the read operation or the restore fails.
 *
 * Context: Process context. May sleep.
 */
void dormouse_restore_free(struct dormouse_restore *restore)
{
	kvfree(restore->image);
	kvfree(restore->slots);
	kfree(restore);
}

/* A page that the bitmaps of snapshot.c know; they do not take any other. */
static struct page *known_page(unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);

	if (!page || !populated_zone(page_zone(page)) ||
	    !zone_spans_pfn(page_zone(page), pfn))
		return NULL;
	return page;
}

static int add_one(struct dormouse_restore *restore, unsigned long pfn)
{
	struct page *page = known_page(pfn);

	/* A page frame that is not to be touched, or that is there twice. */
	if (!page || swsusp_page_is_forbidden(page) || test_bit(pfn, restore->image))
		return -EINVAL;
	__set_bit(pfn, restore->image);
	/* In the kernel that loads an image this means: of the image. */
	swsusp_set_page_free(page);
	restore->added++;
	return 0;
}

/**
 * dormouse_restore_add - Announce pages of the image.
 * @restore: The restore.
 * @pfn: First page frame; any value is allowed.
 * @count: How many; any value is allowed.
 *
 * Context: Process context, in the read operation, before any other page frame
 * is allocated for it. May sleep.
 * Return: 0, -EINVAL if these are not pages of this machine that an image can
 * have, or -EPERM at any other time.
 */
int dormouse_restore_add(struct dormouse_restore *restore, u64 pfn, u64 count)
{
	int ret = 0;
	u64 i;

	if (dormouse_phase_lock() != DORMOUSE_PHASE_READ)
		ret = -EPERM;
	else if (pfn > restore->pfns || count > restore->pfns - pfn ||
		 count > restore->count - restore->added)
		ret = -EINVAL;
	for (i = 0; !ret && i < count; i++) {
		ret = add_one(restore, pfn + i);
		if (!(i % 1024))
			cond_resched();
	}
	dormouse_phase_unlock();
	return ret;
}

/* Notes which of the pages are of the image, and will be loaded in place. */
static u64 add_safe(struct dormouse_restore *restore, u64 safe, struct page *page,
		    unsigned int count)
{
	unsigned long pfn = page_to_pfn(page);
	unsigned int i;

	for (i = 0; i < count; i++)
		if (pfn + i >= restore->pfns || !test_bit(pfn + i, restore->image))
			restore->slots[safe++] = page_address(page + i);
	return safe;
}

/*
 * Once the page cache has nothing to give it is left alone: with reserves in use
 * each further look at it would wait a second for kswapd, which is frozen.
 */
static struct page *own_one(bool *cache)
{
	struct page *page;

	if (*cache) {
		page = hibernation_alloc_pages(CACHE_GFP, 0);
		if (page)
			return page;
		*cache = false;
	}
	return hibernation_alloc_pages(LAST_GFP, 0);
}

/* Gets all page frames, in blocks as large as there are. */
static int own_all(struct dormouse_restore *restore)
{
	unsigned int order = MAX_PAGE_ORDER;
	u64 left = restore->count;
	bool cache = true;
	u64 safe = 0;

	while (left) {
		struct page *page;

		order = min_t(unsigned int, order, ilog2(left));
		page = hibernation_alloc_pages(BULK_GFP, order);
		if (!page && order) {
			order--;
			continue;
		}
		if (!page)
			page = own_one(&cache);
		if (!page)
			return -ENOMEM;
		safe = add_safe(restore, safe, page, 1U << order);
		left -= 1ULL << order;
		cond_resched();
	}
	restore->safe = restore->count - safe;
	memmove(restore->slots + restore->safe, restore->slots, safe * sizeof(void *));
	memset(restore->slots, 0, restore->safe * sizeof(void *));
	return 0;
}

/**
 * dormouse_restore_own - Get as many page frames as the image has pages.
 * @restore: The restore; all pages have been announced.
 *
 * Those that are of the image themselves will be loaded in place. There are as
 * many others as are needed for the rest.
 *
 * Context: Process context, in the read operation. May sleep.
 * Return: 0, -EINVAL if not all pages have been announced, -ENOMEM, or -EPERM
 * at any other time.
 */
int dormouse_restore_own(struct dormouse_restore *restore)
{
	int ret;

	if (dormouse_phase_lock() != DORMOUSE_PHASE_READ)
		ret = -EPERM;
	else if (restore->added != restore->count || restore->safe != restore->count)
		ret = -EINVAL;
	else
		ret = own_all(restore);
	dormouse_phase_unlock();
	return ret;
}

static void *pop_safe(struct dormouse_restore *restore)
{
	void *page;

	if (restore->safe == restore->count)
		return (void *)get_safe_page(SAFE_GFP);
	page = restore->slots[restore->safe];
	restore->slots[restore->safe++] = NULL;
	return page;
}

static struct pbe *new_pbe(struct dormouse_restore *restore)
{
	if (!restore->pbes_left) {
		restore->pbe = pop_safe(restore);
		if (!restore->pbe)
			return NULL;
		restore->pbes_left = PBES_PER_PAGE;
	}
	restore->pbes_left--;
	return restore->pbe++;
}

static int place_one(struct dormouse_restore *restore, unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);
	struct pbe *pbe;

	/*
	 * No page of the image was forbidden when it was announced, so one that
	 * is now has been allocated for us. The first page is moved in any case,
	 * because not every architecture takes an empty list.
	 */
	if (restore->placed && swsusp_page_is_forbidden(page)) {
		restore->slots[restore->placed++] = page_address(page);
		restore->in_place++;
		return 0;
	}

	pbe = new_pbe(restore);
	if (!pbe)
		return -ENOMEM;
	pbe->address = pop_safe(restore);
	if (!pbe->address)
		return -ENOMEM;
	pbe->orig_address = page_address(page);
	pbe->next = restore->pbes;
	restore->pbes = pbe;
	restore->slots[restore->placed++] = pbe->address;
	return 0;
}

/**
 * dormouse_restore_place - Give slots to announced pages.
 * @restore: The restore, which owns its page frames.
 * @pfn: First page frame; any value is allowed.
 * @count: How many; any value is allowed.
 *
 * Context: Process context, in the read operation. May sleep.
 * Return: 0, -EINVAL for pages that were not announced or have a slot, -ENOMEM,
 * or -EPERM at any other time.
 */
int dormouse_restore_place(struct dormouse_restore *restore, u64 pfn, u64 count)
{
	int ret = 0;
	u64 i;

	if (dormouse_phase_lock() != DORMOUSE_PHASE_READ)
		ret = -EPERM;
	else if (pfn > restore->pfns || count > restore->pfns - pfn)
		ret = -EINVAL;
	for (i = 0; !ret && i < count; i++) {
		if (__test_and_clear_bit(pfn + i, restore->image))
			ret = place_one(restore, pfn + i);
		else
			ret = -EINVAL;
		if (!(i % 1024))
			cond_resched();
	}
	dormouse_phase_unlock();
	return ret;
}

/**
 * dormouse_restore_slots - Get the addresses to load pages to.
 * @restore: The restore.
 *
 * Context: Any.
 * Return: An address for each slot that has been given, NULL for the others.
 */
void *const *dormouse_restore_slots(const struct dormouse_restore *restore)
{
	return restore->slots;
}

/**
 * dormouse_restore_placed - Count slots.
 * @restore: The restore.
 *
 * Context: Any.
 * Return: Those that have been given.
 */
u64 dormouse_restore_placed(const struct dormouse_restore *restore)
{
	return restore->placed;
}

/**
 * dormouse_restore_in_place - Count pages that need not be moved.
 * @restore: The restore.
 *
 * Context: Any.
 * Return: Those that are loaded into their own page frames.
 */
u64 dormouse_restore_in_place(const struct dormouse_restore *restore)
{
	return restore->in_place;
}

/**
 * dormouse_restore_arm - Hand a loaded image over to the architecture.
 * @restore: The restore, all of whose slots have been filled.
 *
 * Context: Process context, in the read operation. May sleep.
 * Return: 0, -EINVAL if some page has no slot, or -EPERM at any other time.
 */
int dormouse_restore_arm(struct dormouse_restore *restore)
{
	int ret = 0;
	u64 i;

	if (dormouse_phase_lock() != DORMOUSE_PHASE_READ)
		ret = -EPERM;
	else if (restore->placed != restore->count)
		ret = -EINVAL;
	if (!ret) {
		/* Code may have been loaded in place, where nobody else does this. */
		for (i = 0; i < restore->count; i++) {
			unsigned long at = (unsigned long)restore->slots[i];

			flush_icache_range(at, at + PAGE_SIZE);
		}
		restore_pblist = restore->pbes;
	}
	dormouse_phase_unlock();
	return ret;
}
