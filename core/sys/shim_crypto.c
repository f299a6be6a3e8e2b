// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: compressors of the crypto API.
 *
 * They take linear buffers in place, which the asynchronous interface would
 * copy. A struct dormouse_comp is a struct crypto_comp.
 */

#include <linux/crypto.h>
#include <linux/err.h>
#include <linux/lzo.h>

#include "shim.h"

/**
 * dormouse_comp_exists - Find out if there is a compressor.
 * @name: Name of the algorithm.
 *
 * Context: Process context. May sleep, also to load a module.
 * Return: True if there is.
 */
bool dormouse_comp_exists(const char *name)
{
	return crypto_has_comp(name, 0, 0) > 0;
}

/**
 * dormouse_comp_new - Create a compressor.
 * @name: Name of the algorithm.
 *
 * Context: Process context. May sleep, also to load a module.
 * Return: The compressor or an ERR_PTR(); -ENOENT if there is none.
 */
struct dormouse_comp *dormouse_comp_new(const char *name)
{
	return (struct dormouse_comp *)crypto_alloc_comp(name, 0, 0);
}

/**
 * dormouse_comp_free - Free a compressor.
 * @comp: The compressor.
 *
 * Context: Process context. May sleep.
 */
void dormouse_comp_free(struct dormouse_comp *comp)
{
	crypto_free_comp((struct crypto_comp *)comp);
}

/**
 * dormouse_comp_compress - Compress.
 * @comp: The compressor, used by one caller at a time.
 * @src: What to compress.
 * @src_len: Its length in bytes.
 * @dst: Where to put the result.
 * @dst_len: Room there; becomes the length of the result.
 *
 * Context: Process context.
 * Return: 0, or a negative error code, such as if the room is not enough.
 */
int dormouse_comp_compress(struct dormouse_comp *comp, const u8 *src, u32 src_len,
			   u8 *dst, u32 *dst_len)
{
	/*
	 * A kernel whose LZO compressor respects the room at @dst has this
	 * function; all the other compressors always did.
	 */
	BUILD_BUG_ON(!__builtin_types_compatible_p(typeof(&lzo1x_1_compress_safe),
						   typeof(&lzo1x_1_compress)));
	return crypto_comp_compress((struct crypto_comp *)comp, src, src_len, dst, dst_len);
}

/**
 * dormouse_comp_decompress - Decompress.
 * @comp: The compressor, used by one caller at a time.
 * @src: What to decompress; may be anything.
 * @src_len: Its length in bytes.
 * @dst: Where to put the result.
 * @dst_len: Room there; becomes the length of the result.
 *
 * Context: Process context.
 * Return: 0, or a negative error code.
 */
int dormouse_comp_decompress(struct dormouse_comp *comp, const u8 *src, u32 src_len,
			     u8 *dst, u32 *dst_len)
{
	return crypto_comp_decompress((struct crypto_comp *)comp, src, src_len, dst, dst_len);
}
