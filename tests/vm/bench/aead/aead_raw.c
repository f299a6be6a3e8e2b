// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel's own gcm(aes) costs, without anything of ours: memory that
 * is in one piece, and a list of it that is made once for each length.
 *
 * Frames, lengths and bound bytes are those of aead_stage.rs.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <crypto/aead.h>
#include <linux/err.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#define FRAMES		300
#define BOUND_BYTES	96
#define KEY_BYTES	32
#define TAG_BYTES	16
#define FRAME_BYTES	(128 * 1024)

/* A frame without compression, and such as compressors leave. */
static const u32 lengths[] = { FRAME_BYTES, 77003, 40501 };

struct bench {
	struct crypto_aead *tfm;
	struct aead_request *req;
	struct crypto_wait wait;
	u8 *bound, *plain, *cipher;
	u64 forward_ns, backward_ns;
};

static int crypt(struct bench *b, bool encrypt, u32 len, u64 number)
{
	struct scatterlist plain[2], cipher[2];
	u8 nonce[12] = {};

	memcpy(nonce + 4, &number, sizeof(number));
	sg_init_table(plain, 2);
	sg_set_buf(&plain[0], b->bound, BOUND_BYTES);
	sg_set_buf(&plain[1], b->plain, len);
	sg_init_table(cipher, 2);
	sg_set_buf(&cipher[0], b->bound, BOUND_BYTES);
	sg_set_buf(&cipher[1], b->cipher, len + TAG_BYTES);
	aead_request_set_ad(b->req, BOUND_BYTES);
	if (encrypt) {
		aead_request_set_crypt(b->req, plain, cipher, len, nonce);
		return crypto_wait_req(crypto_aead_encrypt(b->req), &b->wait);
	}
	aead_request_set_crypt(b->req, cipher, plain, len + TAG_BYTES, nonce);
	return crypto_wait_req(crypto_aead_decrypt(b->req), &b->wait);
}

static int measure(struct bench *b)
{
	u64 bytes = 0;
	u32 i;

	for (i = 0; i < FRAMES; i++) {
		u32 len = lengths[i % ARRAY_SIZE(lengths)];
		u64 start = ktime_get_ns(), middle;
		int ret;

		ret = crypt(b, true, len, i);
		middle = ktime_get_ns();
		if (!ret)
			ret = crypt(b, false, len, i);
		if (ret)
			return ret;
		b->forward_ns += middle - start;
		b->backward_ns += ktime_get_ns() - middle;
		bytes += len;
	}
	pr_info("measured %llu bytes, encrypted in %llu ns, decrypted in %llu ns\n", bytes,
		b->forward_ns, b->backward_ns);
	return 0;
}

static int run(struct bench *b)
{
	int ret;

	ret = crypto_aead_setkey(b->tfm, b->bound, KEY_BYTES) ?:
	      crypto_aead_setauthsize(b->tfm, TAG_BYTES);
	if (ret)
		return ret;
	crypto_init_wait(&b->wait);
	aead_request_set_callback(b->req, CRYPTO_TFM_REQ_MAY_SLEEP, crypto_req_done, &b->wait);
	memset(b->plain, 0x5a, FRAME_BYTES);
	return measure(b);
}

static int __init aead_raw_init(void)
{
	struct bench b = {};
	int ret = -ENOMEM;

	b.tfm = crypto_alloc_aead("gcm(aes)", 0, 0);
	if (IS_ERR(b.tfm))
		return PTR_ERR(b.tfm);
	b.req = aead_request_alloc(b.tfm, GFP_KERNEL);
	b.bound = kzalloc(BOUND_BYTES, GFP_KERNEL);
	b.plain = kmalloc(FRAME_BYTES, GFP_KERNEL);
	b.cipher = kmalloc(FRAME_BYTES + TAG_BYTES, GFP_KERNEL);
	if (b.req && b.bound && b.plain && b.cipher)
		ret = run(&b);
	kfree(b.cipher);
	kfree(b.plain);
	kfree(b.bound);
	aead_request_free(b.req);
	crypto_free_aead(b.tfm);
	/* It has done its work: nothing of it need stay. */
	return ret ?: -ECANCELED;
}
module_init(aead_raw_init);

MODULE_DESCRIPTION("What gcm(aes) costs without Dormouse");
MODULE_LICENSE("GPL");
