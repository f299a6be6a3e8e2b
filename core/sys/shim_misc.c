// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: memory, clocks, random bytes, checksums, what kernel this is, and
 * modules.
 */

#include <linux/buildid.h>
#include <linux/crc32.h>
#include <linux/crc32c.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/kmod.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sched/clock.h>
#include <linux/sizes.h>
#include <linux/timekeeping.h>
#include <linux/utsname.h>
#include <linux/vmalloc.h>
#include <linux/xxhash.h>

#include "shim.h"

/* What is wanted is as large as memory: it is to fail rather than kill. */
#define ZALLOC_GFP	(GFP_KERNEL | __GFP_ZERO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)
/* In one piece, if there is one: nothing is thrown out of memory for that. */
#define PIECE_GFP	(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY | __GFP_NOWARN)

/* One piece takes a power of two of pages, and no plan counts on that. */
static bool fits_one_piece(size_t bytes)
{
	size_t piece;

	if (bytes > KMALLOC_MAX_SIZE)
		return false;
	piece = PAGE_SIZE << get_order(bytes);
	return piece - bytes <= piece / 16;
}

/**
 * dormouse_zalloc - Allocate zeroed memory of any size.
 * @bytes: Size; more than there is only makes it fail.
 *
 * Takes no more than the size in whole pages, or a sixteenth more.
 *
 * Context: Process context. May sleep.
 * Return: The memory, physically contiguous if that was easy to get, or NULL.
 */
void *dormouse_zalloc(size_t bytes)
{
	void *memory = NULL;

	if (bytes <= PAGE_SIZE)
		return kmalloc(bytes, ZALLOC_GFP);
	if (fits_one_piece(bytes))
		memory = kmalloc(bytes, PIECE_GFP);
	return memory ?: __vmalloc(bytes, ZALLOC_GFP);
}

/**
 * dormouse_zfree - Free memory of dormouse_zalloc().
 * @memory: The memory.
 * @bytes: Its size.
 * @secret: True if it has to be overwritten before.
 *
 * Context: Process context. May sleep.
 */
void dormouse_zfree(void *memory, size_t bytes, bool secret)
{
	if (secret)
		kvfree_sensitive(memory, bytes);
	else
		kvfree(memory);
}

/**
 * dormouse_monotonic_ns - Read the monotonic clock.
 *
 * Context: Any, except with timekeeping suspended.
 * Return: Nanoseconds.
 */
u64 dormouse_monotonic_ns(void)
{
	return ktime_get_ns();
}

/**
 * dormouse_sched_ns - Read the scheduler's clock.
 *
 * It goes on while timekeeping is suspended.
 *
 * Context: Any.
 * Return: Nanoseconds since some time before.
 */
u64 dormouse_sched_ns(void)
{
	return local_clock();
}

/**
 * dormouse_realtime_s - Read the wall clock.
 *
 * Context: Any.
 * Return: Seconds since 1970.
 */
s64 dormouse_realtime_s(void)
{
	return ktime_get_real_seconds();
}

/**
 * dormouse_sleep_ms - Sleep.
 * @ms: For how many milliseconds, or a little longer.
 *
 * Context: Process context. May sleep.
 */
void dormouse_sleep_ms(u32 ms)
{
	msleep(ms);
}

/**
 * dormouse_fill_random - Get random bytes fit for keys.
 * @bytes: Where to put them.
 * @len: How many.
 *
 * Context: Any.
 */
void dormouse_fill_random(void *bytes, size_t len)
{
	get_random_bytes(bytes, len);
}

/*
 * Whether crc32c() is the faster way: it uses the processor's instruction where
 * there is one, which most emulators do bit by bit, slower than the table does.
 * It also has no algorithm before its own initcall.
 */
static bool crc32c_faster __ro_after_init;

#define CRC32C_SAMPLE	SZ_32K

static u64 __init crc32c_time(u32 (*crc)(u32, const void *, unsigned int),
			      const void *sample)
{
	u64 best = U64_MAX;
	int i;

	for (i = 0; i < 4; i++) {
		u64 start = ktime_get_ns();

		crc(~0, sample, CRC32C_SAMPLE);
		best = min(best, ktime_get_ns() - start);
	}
	return best;
}

static u32 __init crc32c_table(u32 crc, const void *bytes, unsigned int len)
{
	return __crc32c_le(crc, bytes, len);
}

static int __init dormouse_crc32c_init(void)
{
	void *sample = kzalloc(CRC32C_SAMPLE, GFP_KERNEL);

	if (!sample)
		return -ENOMEM;
	crc32c_faster = crc32c_time(crc32c, sample) <
			crc32c_time(crc32c_table, sample);
	kfree(sample);
	pr_info("dormouse: checksums by %s\n",
		crc32c_faster ? "crc32c" : "table");
	return 0;
}
late_initcall(dormouse_crc32c_init);

/**
 * dormouse_crc32c - Continue a CRC-32C.
 * @crc: The checksum so far, not inverted.
 * @bytes: What to add to it.
 * @len: Length in bytes.
 *
 * Context: Any but NMI.
 * Return: The checksum, not inverted.
 */
u32 dormouse_crc32c(u32 crc, const void *bytes, size_t len)
{
	const u8 *at = bytes;

	while (len) {
		unsigned int part = min_t(size_t, len, SZ_1G);

		crc = crc32c_faster ? crc32c(crc, at, part) : __crc32c_le(crc, at, part);
		at += part;
		len -= part;
	}
	return crc;
}

/**
 * dormouse_xxh64 - Compute an XXH64 with seed 0.
 * @bytes: What to compute it of.
 * @len: Length in bytes.
 *
 * Context: Any.
 * Return: The hash.
 */
u64 dormouse_xxh64(const void *bytes, size_t len)
{
	return xxh64(bytes, len, 0);
}

/**
 * dormouse_uts_release - Get the kernel's release, as of uname -r.
 *
 * Context: Any.
 * Return: A string that never changes.
 */
const char *dormouse_uts_release(void)
{
	return init_uts_ns.name.release;
}

/**
 * dormouse_uts_version - Get the kernel's version, as of uname -v.
 *
 * Context: Any.
 * Return: A string that never changes.
 */
const char *dormouse_uts_version(void)
{
	return init_uts_ns.name.version;
}

/**
 * dormouse_uts_machine - Get the kernel's machine, as of uname -m.
 *
 * Context: Any.
 * Return: A string that never changes.
 */
const char *dormouse_uts_machine(void)
{
	return init_uts_ns.name.machine;
}

extern const char __start_notes[] __weak, __stop_notes[] __weak;

/**
 * dormouse_build_id - Get the build ID of the running kernel.
 * @id: Where to put it.
 *
 * Context: Any.
 * Return: 0, or -ENOENT if the kernel has none.
 */
int dormouse_build_id(u8 id[20])
{
	size_t size = __stop_notes - __start_notes;

	BUILD_BUG_ON(BUILD_ID_SIZE_MAX != 20);
	if (!size || build_id_parse_buf(__start_notes, id, size))
		return -ENOENT;
	return 0;
}

/**
 * dormouse_ram_pages - Get the size of memory.
 *
 * Context: Any.
 * Return: Page frames that the kernel had at boot.
 */
u64 dormouse_ram_pages(void)
{
	return get_num_physpages();
}

/**
 * dormouse_module_get - Keep a module loaded.
 * @module: The module, alive; NULL stands for the kernel.
 *
 * Context: Any.
 * Return: False if it is being unloaded.
 */
bool dormouse_module_get(void *module)
{
	return try_module_get(module);
}

/**
 * dormouse_module_put - Undo dormouse_module_get().
 * @module: The module.
 *
 * Context: Any.
 */
void dormouse_module_put(void *module)
{
	module_put(module);
}

/**
 * dormouse_module_request - Ask user space to load a module.
 * @name: Name or alias.
 *
 * Context: Process context. May sleep. Fails while tasks are frozen.
 * Return: 0 if the request was carried out, which may not mean that there is
 * such a module; otherwise a negative error code.
 */
int dormouse_module_request(const char *name)
{
	int ret = request_module("%s", name);

	/* A positive value is what modprobe said. */
	return ret > 0 ? -ENOENT : ret;
}
