// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: keys of the kernel's keyrings.
 *
 * A struct dormouse_key is a struct key with a reference.
 */

#include <keys/encrypted-type.h>
#include <keys/trusted-type.h>
#include <keys/user-type.h>
#include <linux/err.h>
#include <linux/key-type.h>
#include <linux/key.h>
#include <linux/string.h>

#include "shim.h"

#ifdef CONFIG_KEYS

static struct key_type *find_type(const char *name)
{
	if (!strcmp(name, "user"))
		return &key_type_user;
	if (!strcmp(name, "logon"))
		return &key_type_logon;
#if IS_BUILTIN(CONFIG_TRUSTED_KEYS)
	if (!strcmp(name, "trusted"))
		return &key_type_trusted;
#endif
#if IS_BUILTIN(CONFIG_ENCRYPTED_KEYS)
	if (!strcmp(name, "encrypted"))
		return &key_type_encrypted;
#endif
	return NULL;
}

/**
 * dormouse_key_find - Find a key in the keyrings of the current process.
 * @type: Type of the key.
 * @description: Its description.
 *
 * Does not ask user space for it.
 *
 * Context: Process context. May sleep.
 * Return: The key or an ERR_PTR(); -ENOKEY if it is not there, -EOPNOTSUPP if
 * this type is not built into the kernel.
 */
struct dormouse_key *dormouse_key_find(const char *type, const char *description)
{
	struct key_type *found = find_type(type);

	if (!found)
		return ERR_PTR(-EOPNOTSUPP);
	return (struct dormouse_key *)request_key(found, description, NULL);
}

/**
 * dormouse_key_put - Let go of a key.
 * @key: The key.
 *
 * Context: Any context.
 */
void dormouse_key_put(struct dormouse_key *key)
{
	key_put((struct key *)key);
}

/* Finds the secret of @key, whose semaphore is held. */
static int find_secret(const struct key *key, const void **secret, size_t *len)
{
	const char *type = key->type->name;

	if (!strcmp(type, "user") || !strcmp(type, "logon")) {
		const struct user_key_payload *payload = user_key_payload_locked(key);

		if (!payload)
			return -EKEYREVOKED;
		*secret = payload->data;
		*len = payload->datalen;
		return 0;
	}
	if (!strcmp(type, "trusted")) {
		const struct trusted_key_payload *payload = dereference_key_locked(key);

		if (!payload)
			return -EKEYREVOKED;
		*secret = payload->key;
		*len = payload->key_len;
		return 0;
	}
	if (!strcmp(type, "encrypted")) {
		const struct encrypted_key_payload *payload = dereference_key_locked(key);

		if (!payload)
			return -EKEYREVOKED;
		*secret = payload->decrypted_data;
		*len = payload->decrypted_datalen;
		return 0;
	}
	/* The module of its type is gone. */
	return -EKEYREVOKED;
}

/**
 * dormouse_key_read - Copy the secret of a key.
 * @key: The key.
 * @out: Where to put it; the caller overwrites it as soon as it can.
 * @size: Room there in bytes.
 *
 * Context: Process context. May sleep; does not need user space.
 * Return: Bytes of the secret, or a negative error code: -E2BIG if the room is
 * not enough, -EKEYREVOKED, -EKEYEXPIRED.
 */
s64 dormouse_key_read(struct dormouse_key *key, void *out, size_t size)
{
	struct key *one = (struct key *)key;
	const void *secret;
	size_t len;
	int ret;

	down_read(&one->sem);
	ret = key_validate(one);
	if (!ret)
		ret = find_secret(one, &secret, &len);
	if (!ret && len > size)
		ret = -E2BIG;
	if (!ret)
		memcpy(out, secret, len);
	up_read(&one->sem);
	return ret ?: (s64)len;
}

#else

/* A kernel without keyrings has no keys. */

struct dormouse_key *dormouse_key_find(const char *type, const char *description)
{
	return ERR_PTR(-EOPNOTSUPP);
}

void dormouse_key_put(struct dormouse_key *key)
{
}

s64 dormouse_key_read(struct dormouse_key *key, void *out, size_t size)
{
	return -EOPNOTSUPP;
}

#endif
