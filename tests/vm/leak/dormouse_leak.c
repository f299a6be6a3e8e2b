// SPDX-License-Identifier: GPL-2.0
/*
 * Loses memory when it is told to, for the test of the search for leaks.
 */

#include <linux/gfp.h>
#include <linux/module.h>
#include <linux/slab.h>

/* The name of the module is in the stack of an allocation: that is what counts. */
static noinline int dormouse_leak(const char *what, const struct kernel_param *param)
{
	if (sysfs_streq(what, "object"))
		return kmalloc(64, GFP_KERNEL) ? 0 : -ENOMEM;
	if (sysfs_streq(what, "page"))
		return alloc_page(GFP_KERNEL) ? 0 : -ENOMEM;
	return -EINVAL;
}

static const struct kernel_param_ops leak_ops = { .set = dormouse_leak };

module_param_cb(leak, &leak_ops, NULL, 0200);
MODULE_PARM_DESC(leak, "What to lose: object or page");

static int __init dormouse_leak_init(void)
{
	return 0;
}
module_init(dormouse_leak_init);

MODULE_DESCRIPTION("Loses memory when it is told to");
MODULE_LICENSE("GPL");
