// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: options of the kernel's command line.
 */

#include <linux/moduleparam.h>
#include <linux/string.h>

#include "shim.h"

/* Not the name of this file. */
#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "dormouse."

/*
 * Keeps where the value is: the command line stays in memory. A value is taken
 * here however long it is, and refused where what it asks for is known: an
 * option that the kernel has refused would look like one that is not there.
 */
static int keep_value(const char *value, const struct kernel_param *param)
{
	*(const char **)param->arg = value ?: "";
	return 0;
}

static const struct kernel_param_ops keep_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = keep_value,
};

#define OPTION(name)						\
	static const char *option_##name;			\
	module_param_cb(name, &keep_ops, &option_##name, 0)

OPTION(compressor);
OPTION(enabled);
OPTION(encryptor);
OPTION(freezer);
OPTION(image_size_limit);
OPTION(io_timeout);
OPTION(key);
OPTION(snapshot);
OPTION(target);
OPTION(threads);
OPTION(writer);

#define VALUE(name) { #name, &option_##name }

static const struct {
	const char *name;
	const char **value;
} options[] = {
	VALUE(compressor),
	VALUE(enabled),
	VALUE(encryptor),
	VALUE(freezer),
	VALUE(image_size_limit),
	VALUE(io_timeout),
	VALUE(key),
	VALUE(snapshot),
	VALUE(target),
	VALUE(threads),
	VALUE(writer),
};

/**
 * dormouse_option - Get an option of the command line.
 * @name: Its name, without the "dormouse." in front of it.
 *
 * Context: Any.
 * Return: Its value, which stays where it is; NULL if it was not given. The
 * last one counts.
 */
const char *dormouse_option(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(options); i++) {
		if (!strcmp(options[i].name, name))
			return *options[i].value;
	}
	return NULL;
}
