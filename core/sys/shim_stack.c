// SPDX-License-Identifier: GPL-2.0
/*
 * Dormouse: what block devices are made of.
 */

#include <linux/blkdev.h>
#include <linux/kernfs.h>
#include <linux/kobject.h>
#include <linux/major.h>
#include <linux/module.h>
#include <linux/rbtree.h>
#include <linux/srcu.h>
#include <linux/string.h>

#include "shim.h"

/* Private declarations of drivers/md: targets of tables, levels of arrays. */
#include "dm-core.h"
#include "md.h"

struct walk {
	struct dormouse_layer *layers;
	u32 count;
	u32 used;
	bool full;
};

/* Returns a new layer of @disk, or NULL if there is no room for it. */
static struct dormouse_layer *add_layer(struct walk *walk, struct gendisk *disk,
					enum dormouse_layer_kind kind)
{
	struct dormouse_layer *layer;

	if (walk->used == walk->count) {
		walk->full = true;
		return NULL;
	}
	layer = &walk->layers[walk->used++];
	memset(layer, 0, sizeof(*layer));
	layer->kind = kind;
	layer->dev = disk_devt(disk);
	strscpy(layer->disk, disk->disk_name, sizeof(layer->disk));
	return layer;
}

static void add_disk_layer(struct walk *walk, struct gendisk *disk)
{
	struct dormouse_layer *layer;
	u32 i;

	for (i = 0; i < walk->used; i++) {
		layer = &walk->layers[i];
		if (layer->kind == DORMOUSE_LAYER_DISK && layer->dev == disk_devt(disk))
			return;
	}
	layer = add_layer(walk, disk, DORMOUSE_LAYER_DISK);
	if (layer)
		layer->frees_slots = disk->fops->swap_slot_free_notify;
}

/*
 * Adds the type of a target, once a disk: tables may have thousands of targets.
 * Whether an array of dm-raid is being reshaped cannot be seen: its mddev is in a
 * structure that only dm-raid.c knows, and belongs to no disk of md.
 */
static void add_target(struct walk *walk, struct gendisk *disk, struct dm_target *target)
{
	char variant[sizeof_field(struct dormouse_layer, variant)] = "";
	struct dormouse_layer *layer;
	u32 i;

	/* The first word of their parameters is the type of the array or log. */
	if ((!strcmp(target->type->name, "raid") || !strcmp(target->type->name, "mirror")) &&
	    target->type->status) {
		target->type->status(target, STATUSTYPE_TABLE, 0, variant, sizeof(variant));
		variant[strcspn(variant, " ")] = '\0';
	}
	for (i = walk->used; i > 0; i--) {
		layer = &walk->layers[i - 1];
		if (layer->kind != DORMOUSE_LAYER_TARGET || layer->dev != disk_devt(disk))
			break;
		if (!strcmp(layer->type, target->type->name) && !strcmp(layer->variant, variant))
			return;
	}
	layer = add_layer(walk, disk, DORMOUSE_LAYER_TARGET);
	if (layer) {
		strscpy(layer->type, target->type->name, sizeof(layer->type));
		strscpy(layer->variant, variant, sizeof(layer->variant));
	}
}

/* dm_get_live_table() is not for others, and device-mapper may be a module. */
static void add_table(struct walk *walk, struct gendisk *disk, struct mapped_device *md)
{
	struct dm_table *table;
	unsigned int i;
	int idx;

	idx = srcu_read_lock(&md->io_barrier);
	table = srcu_dereference(md->map, &md->io_barrier);
	for (i = 0; table && i < table->num_targets; i++)
		add_target(walk, disk, dm_table_get_target(table, i));
	srcu_read_unlock(&md->io_barrier, idx);
}

static void add_targets(struct walk *walk, struct gendisk *disk)
{
	typeof(&dm_get_md) get;
	typeof(&dm_put) put;
	struct mapped_device *md;

	if (!IS_ENABLED(CONFIG_BLK_DEV_DM))
		return;
	/* Without these no device-mapper is loaded, and this is no disk of it. */
	get = symbol_get(dm_get_md);
	if (!get)
		return;
	put = symbol_get(dm_put);
	if (put) {
		/* None for disks of other drivers. */
		md = get(disk_devt(disk));
		if (md) {
			add_table(walk, disk, md);
			put(md);
		}
		symbol_put(dm_put);
	}
	symbol_put(dm_get_md);
}

static void add_array(struct walk *walk, struct gendisk *disk)
{
	const struct mddev *mddev = disk->private_data;
	struct dormouse_layer *layer;

	if (!IS_ENABLED(CONFIG_BLK_DEV_MD))
		return;
	/* Arrays with partitions of the old kind have a major number of their own. */
	if (disk->major != MD_MAJOR && strncmp(disk->disk_name, "md_d", 4))
		return;
	layer = add_layer(walk, disk, DORMOUSE_LAYER_ARRAY);
	if (layer) {
		layer->level = READ_ONCE(mddev->level);
		layer->external = READ_ONCE(mddev->external);
		/* Also while it is interrupted: md takes it up again by itself. */
		layer->reshapes = READ_ONCE(mddev->reshape_position) != MaxSector;
	}
}

/*
 * Gets the folder with the links to what @device is made of. Found by its path, so
 * that nothing is touched of a device that is being removed.
 */
static struct kernfs_node *get_slaves(struct device *device)
{
	struct kernfs_node *root, *link, *slaves = NULL;
	char path[64];

	if (snprintf(path, sizeof(path), "class/block/%s", dev_name(device)) >= sizeof(path))
		return NULL;
	root = kernfs_get_parent(power_kobj->sd);
	link = kernfs_walk_and_get(root, path);
	if (link && kernfs_type(link) == KERNFS_LINK)
		slaves = kernfs_find_and_get(link->symlink.target_kn, "slaves");
	kernfs_put(link);
	kernfs_put(root);
	return slaves;
}

static void add_disks_below(struct walk *walk, struct device *device)
{
	struct kernfs_node *slaves = get_slaves(device);
	struct class_dev_iter iter;
	struct device *other;

	if (!slaves)
		return;
	/* Most disks have none, and a disk that is in use gets no first one. */
	if (RB_EMPTY_ROOT(&slaves->dir.children)) {
		kernfs_put(slaves);
		return;
	}
	class_dev_iter_init(&iter, &block_class, NULL, NULL);
	while ((other = class_dev_iter_next(&iter))) {
		struct kernfs_node *link = kernfs_find_and_get(slaves, dev_name(other));

		if (!link)
			continue;
		kernfs_put(link);
		add_disk_layer(walk, dev_to_bdev(other)->bd_disk);
	}
	class_dev_iter_exit(&iter);
	kernfs_put(slaves);
}

/**
 * dormouse_stack - Find out what a block device is made of.
 * @dev: Its number.
 * @layers: Becomes the list of its layers: its whole disk, and all disks below
 *	that which device-mapper, md or another driver says that it is made of, each
 *	followed at some distance by the types of targets or the level of the array
 *	that is on it.
 * @count: Length of @layers.
 *
 * Reads nothing of any device, so it never waits for one.
 *
 * Context: Process context. May sleep.
 * Return: How many layers there are, -ENODEV if there is no such device, or
 * -E2BIG for more than @count.
 */
int dormouse_stack(u32 dev, struct dormouse_layer *layers, u32 count)
{
	struct walk walk = { .layers = layers, .count = count };
	struct device *device;
	u32 i;

	device = class_find_device_by_devt(&block_class, dev);
	if (!device)
		return -ENODEV;
	add_disk_layer(&walk, dev_to_bdev(device)->bd_disk);
	put_device(device);

	for (i = 0; i < walk.used; i++) {
		struct gendisk *disk;

		if (layers[i].kind != DORMOUSE_LAYER_DISK)
			continue;
		device = class_find_device_by_devt(&block_class, layers[i].dev);
		if (!device)
			return -ENODEV;
		disk = dev_to_bdev(device)->bd_disk;
		add_targets(&walk, disk);
		add_array(&walk, disk);
		add_disks_below(&walk, device);
		put_device(device);
	}
	return walk.full ? -E2BIG : walk.used;
}
