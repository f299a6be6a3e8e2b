// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: directories and attributes in sysfs.
 */

#include <linux/err.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "shim.h"

/**
 * struct dormouse_dir - A directory.
 * @kobj: Makes it appear.
 * @lock: Protects @attrs.
 * @attrs: Its attributes.
 */
struct dormouse_dir {
	struct kobject kobj;
	struct mutex lock;
	struct list_head attrs;
};

/**
 * struct dormouse_attr - A file in a directory.
 * @attr: What sysfs knows of it.
 * @node: Entry in the list of the directory.
 * @ops: What it does.
 * @ctx: Argument of @ops.
 */
struct dormouse_attr {
	struct attribute attr;
	struct list_head node;
	const struct dormouse_attr_ops *ops;
	void *ctx;
};

static ssize_t attr_show(struct kobject *kobj, struct attribute *attr, char *page)
{
	struct dormouse_attr *file = container_of(attr, struct dormouse_attr, attr);

	/* sysfs takes a full page for a mistake. */
	return file->ops->show(file->ctx, page, PAGE_SIZE - 1);
}

static ssize_t attr_store(struct kobject *kobj, struct attribute *attr,
			  const char *value, size_t len)
{
	struct dormouse_attr *file = container_of(attr, struct dormouse_attr, attr);
	size_t bare = len && value[len - 1] == '\n' ? len - 1 : len;

	return file->ops->store(file->ctx, value, bare) ?: len;
}

static const struct sysfs_ops dir_sysfs_ops = {
	.show = attr_show,
	.store = attr_store,
};

static void dir_release(struct kobject *kobj)
{
	kfree(container_of(kobj, struct dormouse_dir, kobj));
}

static const struct kobj_type dir_type = {
	.release = dir_release,
	.sysfs_ops = &dir_sysfs_ops,
};

/**
 * dormouse_dir_new - Create a directory.
 * @parent: Where to create it; NULL for /sys/power.
 * @name: Its name.
 *
 * A kernel without power management has no /sys/power: there it is /sys/kernel.
 *
 * Context: Process context. May sleep.
 * Return: The directory or an ERR_PTR(); -EEXIST if there is one.
 */
struct dormouse_dir *dormouse_dir_new(struct dormouse_dir *parent, const char *name)
{
	struct kobject *top = IS_ENABLED(CONFIG_PM) ? power_kobj : kernel_kobj;
	struct dormouse_dir *dir;
	int ret;

	dir = kzalloc(sizeof(*dir), GFP_KERNEL);
	if (!dir)
		return ERR_PTR(-ENOMEM);
	mutex_init(&dir->lock);
	INIT_LIST_HEAD(&dir->attrs);

	ret = kobject_init_and_add(&dir->kobj, &dir_type, parent ? &parent->kobj : top,
				   "%s", name);
	if (ret) {
		kobject_put(&dir->kobj);
		return ERR_PTR(ret);
	}
	return dir;
}

/**
 * dormouse_dir_remove - Remove a directory with its attributes.
 * @dir: The directory.
 *
 * Waits for calls to the attributes that are under way, so it must not be
 * called from one of them.
 *
 * Context: Process context. May sleep.
 */
void dormouse_dir_remove(struct dormouse_dir *dir)
{
	struct dormouse_attr *file, *next;

	list_for_each_entry_safe(file, next, &dir->attrs, node) {
		sysfs_remove_file(&dir->kobj, &file->attr);
		file->ops->release(file->ctx);
		kfree(file);
	}
	kobject_del(&dir->kobj);
	kobject_put(&dir->kobj);
}

/**
 * dormouse_dir_add - Add an attribute to a directory.
 * @dir: The directory.
 * @name: Its name, which stays as long as the directory.
 * @mode: Permissions.
 * @ops: What it does.
 * @ctx: Argument of @ops; released with the directory if this succeeds.
 *
 * Context: Process context. May sleep.
 * Return: 0 or a negative error code: -EINVAL for permissions that let anybody
 * but root write, -EEXIST, -ENOMEM.
 */
int dormouse_dir_add(struct dormouse_dir *dir, const char *name, u16 mode,
		     const struct dormouse_attr_ops *ops, void *ctx)
{
	struct dormouse_attr *file;
	int ret;

	if (mode & ~0644)
		return -EINVAL;
	file = kzalloc(sizeof(*file), GFP_KERNEL);
	if (!file)
		return -ENOMEM;
	sysfs_attr_init(&file->attr);
	file->attr.name = name;
	file->attr.mode = mode;
	file->ops = ops;
	file->ctx = ctx;

	mutex_lock(&dir->lock);
	ret = sysfs_create_file(&dir->kobj, &file->attr);
	if (ret)
		kfree(file);
	else
		list_add_tail(&file->node, &dir->attrs);
	mutex_unlock(&dir->lock);
	return ret;
}
