// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: authenticated ciphers and HMAC of the crypto API.
 *
 * The cipher may be an asynchronous one, since the fast ones on x86 are: they
 * are waited for. One that allocates memory for a request is not taken. Nor is
 * one of a device, which is a driver only to the kernel: it may be asleep while
 * other devices work, or never answer, and nothing could end the wait for it.
 */

#include <crypto/aead.h>
#include <crypto/hash.h>
#include <linux/crypto.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "shim.h"

/* No cipher that is used here takes a longer one. */
#define NONCE_BYTES	16

/**
 * struct dormouse_aead - A cipher with a key.
 * @tfm: The cipher.
 * @req: The only request.
 * @wait: Who waits for it.
 * @src: Room for @entries entries.
 * @dst: The same.
 * @entries: Room in @src and @dst.
 * @len_max: Most bytes of a request.
 * @bound: Room for @bound_max bytes that are bound to the data, twice: some
 *	   ciphers copy them from the source to the destination.
 * @bound_max: Half of the size of @bound.
 * @nonce: Copy that the cipher may change.
 */
struct dormouse_aead {
	struct crypto_aead *tfm;
	struct aead_request *req;
	struct crypto_wait wait;
	struct scatterlist *src;
	struct scatterlist *dst;
	u32 entries;
	size_t len_max;
	u8 *bound;
	size_t bound_max;
	u8 nonce[NONCE_BYTES];
};

/**
 * dormouse_aead_free - Free a cipher, with its key.
 * @aead: The cipher.
 *
 * Context: Process context. May sleep.
 */
void dormouse_aead_free(struct dormouse_aead *aead)
{
	aead_request_free(aead->req);
	crypto_free_aead(aead->tfm);
	kvfree(aead->src);
	kvfree(aead->dst);
	kfree_sensitive(aead->bound);
	kfree_sensitive(aead);
}

/**
 * dormouse_aead_new - Create a cipher.
 * @name: Its name in the crypto API.
 * @len_max: Most bytes that a request encrypts or decrypts, tag included.
 * @bound_max: Most bytes that are bound to them.
 * @tag_len: Bytes of the tag.
 *
 * Context: Process context. May sleep, also to load a module.
 * Return: The cipher without a key or an ERR_PTR(); -ENOENT if there is none that
 * runs on a processor.
 */
struct dormouse_aead *dormouse_aead_new(const char *name, size_t len_max, size_t bound_max,
					u32 tag_len)
{
	struct dormouse_aead *aead;
	size_t bytes;
	int ret;

	aead = kzalloc(sizeof(*aead), GFP_KERNEL);
	if (!aead)
		return ERR_PTR(-ENOMEM);

	aead->tfm = crypto_alloc_aead(name, 0, CRYPTO_ALG_ALLOCATES_MEMORY |
					       CRYPTO_ALG_KERN_DRIVER_ONLY);
	if (IS_ERR(aead->tfm)) {
		ret = PTR_ERR(aead->tfm);
		kfree(aead);
		return ERR_PTR(ret);
	}
	ret = -EINVAL;
	if (crypto_aead_ivsize(aead->tfm) > NONCE_BYTES)
		goto fail;
	ret = crypto_aead_setauthsize(aead->tfm, tag_len);
	if (ret)
		goto fail;

	ret = -ENOMEM;
	/* Data and what is bound to it may begin and end within a page. */
	aead->entries = len_max / PAGE_SIZE + bound_max / PAGE_SIZE + 4;
	bytes = array_size(aead->entries, sizeof(*aead->src));
	aead->src = kvzalloc(bytes, GFP_KERNEL);
	aead->dst = kvzalloc(bytes, GFP_KERNEL);
	aead->len_max = len_max;
	aead->bound_max = bound_max;
	aead->bound = kzalloc(array_size(2, bound_max), GFP_KERNEL);
	aead->req = aead_request_alloc(aead->tfm, GFP_KERNEL);
	if (!aead->src || !aead->dst || !aead->bound || !aead->req)
		goto fail;

	crypto_init_wait(&aead->wait);
	aead_request_set_callback(aead->req,
				  CRYPTO_TFM_REQ_MAY_BACKLOG | CRYPTO_TFM_REQ_MAY_SLEEP,
				  crypto_req_done, &aead->wait);
	return aead;

fail:
	dormouse_aead_free(aead);
	return ERR_PTR(ret);
}

/**
 * dormouse_aead_set_key - Set the key.
 * @aead: The cipher.
 * @key: The key.
 * @len: Its length in bytes.
 *
 * Context: Process context. May sleep.
 * Return: 0, or -EINVAL if the cipher takes no key of this length.
 */
int dormouse_aead_set_key(struct dormouse_aead *aead, const u8 *key, u32 len)
{
	return crypto_aead_setkey(aead->tfm, key, len);
}

/* Appends @len bytes to a list of @used entries; returns how many it has then. */
static int add_bytes(const struct dormouse_aead *aead, struct scatterlist *sg, int used,
		     const void *bytes, size_t len)
{
	while (len) {
		size_t n = len;
		struct page *page;

		if (used < 0 || used >= aead->entries)
			return -E2BIG;
		if (is_vmalloc_or_module_addr(bytes)) {
			n = min_t(size_t, len, PAGE_SIZE - offset_in_page(bytes));
			page = vmalloc_to_page(bytes);
		} else {
			page = virt_to_page(bytes);
		}
		sg_set_page(&sg[used++], page, n, offset_in_page(bytes));
		bytes += n;
		len -= n;
	}
	return used;
}

static int fill(const struct dormouse_aead *aead, struct scatterlist *sg, const void *bound,
		size_t bound_len, const void *data, size_t data_len)
{
	int used;

	sg_init_table(sg, aead->entries);
	used = add_bytes(aead, sg, 0, bound, bound_len);
	used = add_bytes(aead, sg, used, data, data_len);
	if (used > 0)
		sg_mark_end(&sg[used - 1]);
	return min(used, 0);
}

/**
 * dormouse_aead_crypt - Encrypt or decrypt.
 * @aead: The cipher, used by one caller at a time.
 * @encrypt: True to encrypt.
 * @nonce: The nonce.
 * @nonce_len: Its length, which is the one that the cipher takes.
 * @bound: What is bound to the data.
 * @bound_len: Its length in bytes.
 * @src: Plain text, or cipher text and tag.
 * @src_len: Its length in bytes, not 0.
 * @dst: Where to put the other; does not overlap @src.
 * @dst_len: Its length: exactly that of the result.
 *
 * Context: Process context. May sleep; neither allocates nor needs user space.
 * Return: 0, -EBADMSG if the tag does not match, or another negative error
 * code. @dst is of no use then.
 */
int dormouse_aead_crypt(struct dormouse_aead *aead, bool encrypt, const u8 *nonce,
			u32 nonce_len, const u8 *bound, size_t bound_len, const u8 *src,
			size_t src_len, u8 *dst, size_t dst_len)
{
	size_t tag_len = crypto_aead_authsize(aead->tfm);
	u8 *bound_out = aead->bound + aead->bound_max;
	int ret;

	if (nonce_len != crypto_aead_ivsize(aead->tfm) || bound_len > aead->bound_max)
		return -EINVAL;
	if (!src_len || max(src_len, dst_len) > aead->len_max)
		return -EINVAL;
	if (encrypt ? dst_len != src_len + tag_len : src_len != dst_len + tag_len)
		return -EINVAL;

	memcpy(aead->nonce, nonce, nonce_len);
	memcpy(aead->bound, bound, bound_len);
	ret = fill(aead, aead->src, aead->bound, bound_len, src, src_len);
	if (ret)
		return ret;
	ret = fill(aead, aead->dst, bound_out, bound_len, dst, dst_len);
	if (ret)
		return ret;

	aead_request_set_crypt(aead->req, aead->src, aead->dst, src_len, aead->nonce);
	aead_request_set_ad(aead->req, bound_len);
	return crypto_wait_req(encrypt ? crypto_aead_encrypt(aead->req) :
					 crypto_aead_decrypt(aead->req), &aead->wait);
}

/**
 * struct dormouse_hmac - HMAC-SHA256.
 * @tfm: The algorithm with its key.
 * @desc: What was computed so far.
 */
struct dormouse_hmac {
	struct crypto_shash *tfm;
	struct shash_desc *desc;
};

/**
 * dormouse_hmac_free - Free an HMAC, with its key.
 * @hmac: The HMAC.
 *
 * Context: Process context. May sleep.
 */
void dormouse_hmac_free(struct dormouse_hmac *hmac)
{
	kfree_sensitive(hmac->desc);
	crypto_free_shash(hmac->tfm);
	kfree(hmac);
}

/**
 * dormouse_hmac_new - Create an HMAC-SHA256.
 *
 * Context: Process context. May sleep, also to load a module.
 * Return: The HMAC without a key or an ERR_PTR(); -ENOENT if there is none.
 */
struct dormouse_hmac *dormouse_hmac_new(void)
{
	struct dormouse_hmac *hmac;
	int ret;

	hmac = kzalloc(sizeof(*hmac), GFP_KERNEL);
	if (!hmac)
		return ERR_PTR(-ENOMEM);
	hmac->tfm = crypto_alloc_shash("hmac(sha256)", 0, 0);
	if (IS_ERR(hmac->tfm)) {
		ret = PTR_ERR(hmac->tfm);
		kfree(hmac);
		return ERR_PTR(ret);
	}
	hmac->desc = kzalloc(sizeof(*hmac->desc) + crypto_shash_descsize(hmac->tfm), GFP_KERNEL);
	if (!hmac->desc) {
		dormouse_hmac_free(hmac);
		return ERR_PTR(-ENOMEM);
	}
	hmac->desc->tfm = hmac->tfm;
	return hmac;
}

/**
 * dormouse_hmac_begin - Begin a computation.
 * @hmac: The HMAC, used by one caller at a time.
 * @key: The key.
 * @len: Its length in bytes.
 *
 * Context: Process context. May sleep.
 * Return: 0 or a negative error code.
 */
int dormouse_hmac_begin(struct dormouse_hmac *hmac, const u8 *key, u32 len)
{
	return crypto_shash_setkey(hmac->tfm, key, len) ?: crypto_shash_init(hmac->desc);
}

/**
 * dormouse_hmac_add - Go on with a computation.
 * @hmac: The HMAC.
 * @bytes: What is to be authenticated.
 * @len: Its length in bytes.
 *
 * Context: Process context.
 * Return: 0 or a negative error code.
 */
int dormouse_hmac_add(struct dormouse_hmac *hmac, const u8 *bytes, u32 len)
{
	return crypto_shash_update(hmac->desc, bytes, len);
}

/**
 * dormouse_hmac_end - End a computation.
 * @hmac: The HMAC.
 * @out: Where to put the result.
 *
 * Context: Process context.
 * Return: 0 or a negative error code.
 */
int dormouse_hmac_end(struct dormouse_hmac *hmac, u8 out[32])
{
	return crypto_shash_final(hmac->desc, out);
}
