/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Dormouse: what the files about page frames share.
 */
#ifndef _DORMOUSE_SHIM_PAGES_H
#define _DORMOUSE_SHIM_PAGES_H

#include <linux/gfp.h>

/*
 * For page frames that hold a page of an image for a while: they may be where
 * only memory is that can be moved (CMA, ZONE_MOVABLE), since whoever wants it
 * moved can wait. They need an address, which there is none for in ZONE_HIGHMEM.
 */
#ifdef CONFIG_HIGHMEM
#define DORMOUSE_GFP_ANYWHERE	0
#else
#define DORMOUSE_GFP_ANYWHERE	(__GFP_HIGHMEM | __GFP_MOVABLE)
#endif

/* Blocks of pages: what is free, and nothing is done to get more of it. */
#define DORMOUSE_GFP_BLOCK	(__GFP_NOMEMALLOC | __GFP_NOWARN)

#endif /* _DORMOUSE_SHIM_PAGES_H */
